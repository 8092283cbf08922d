"""How the bundled pair was made, and how to make a pair of your own. See README.md."""
