"""The examples of docs/testing-your-bot.md. `test_examples.py` copies them to an empty folder and runs them there."""

collect_ignore = ["nio", "simplematrixbotlib"]
