"""The durable queue (DBOS) and the child process that runs an engine job."""
