"""Planning for a load: what one machine serves, as `loraloop plan` says, and replicas of the server."""
