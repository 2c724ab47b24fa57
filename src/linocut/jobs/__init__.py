"""The record is the job: its states, its storage, and who moves it on."""
