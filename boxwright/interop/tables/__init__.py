"""What the sources share: tables of keys and of names, both ways, and reports of what became of each."""
