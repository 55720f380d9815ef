"""What can this machine run? `examination` puts the questions, each other module answers some of them."""
