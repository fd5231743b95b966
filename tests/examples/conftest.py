"""The examples of docs/testing-your-bot.md are run as a reader would: copied to an empty folder (see test_examples)."""

collect_ignore = ["nio", "simplematrixbotlib"]
