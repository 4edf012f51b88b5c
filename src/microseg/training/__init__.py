"""From micrographs and masks to weights: crops, schedules, the loop, and exact resume."""
