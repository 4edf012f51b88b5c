"""Pictures in and out, and what is known of each micrograph."""
