"""What every command needs of the machine and the repository: one-line errors, whole files, the same bits."""
