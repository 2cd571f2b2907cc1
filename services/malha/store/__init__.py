"""What is kept: PostgreSQL, embedded or any other, its schema, tenants kept apart by row-level security, group commit."""
