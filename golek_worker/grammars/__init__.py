"""What may an answer be made to follow? Grammars, schemas, expressions, choices; pure, without an engine or a bus."""
