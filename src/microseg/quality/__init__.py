"""What a person should know about annotations before trusting them: findings, counted and listed by place."""
