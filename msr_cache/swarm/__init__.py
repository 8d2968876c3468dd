"""How a manager of the swarm is reached, and whose an object is."""
