"""What the service keeps: tables (SQLAlchemy, alembic) and blobs."""
