"""From settings to many experiments and back to one table and figure; DVC runs, keeps and shares them."""
