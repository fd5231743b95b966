from greenroom import checks, must


async def test_every_device_of_alice_reads_the_answer(person, bot):
    alice, echo = await person("alice", encrypted=True), await bot("python echo_bot.py")
    room = await must.chat(alice, echo, encrypted=True)
    answer = await must.answer(alice, echo, room, "a secret", "a secret")
    assert answer.encrypted

    phone = await person.second_device(alice)
    await must.answer(alice, echo, room, "I have a new phone")  # here at the latest the bot hears of it
    await must.answer(alice, echo, room, "can I read this there?")
    await must.see(phone, checks.message("can I read this there?", sender=echo.user_id))


async def test_a_room_is_switched_to_encryption(person, bot):
    alice, echo = await person("alice", encrypted=True), await bot("python echo_bot.py")
    room = await must.chat(alice, echo)
    assert not (await must.answer(alice, echo, room, "hello")).encrypted

    await alice.encrypt(room)

    assert (await must.answer(alice, echo, room, "hello again")).encrypted
