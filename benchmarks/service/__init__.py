"""The service under load, kills and hostile input: scripts that print the figures of docs/reliability.md."""
