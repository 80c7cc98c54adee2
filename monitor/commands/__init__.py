"""What the commands do: settings and arguments in, words and data out."""
