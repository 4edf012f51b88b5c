"""What every package may use: commands, errors, files, parameters, processes, progress, random numbers, tables."""
