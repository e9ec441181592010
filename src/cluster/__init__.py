"""Ray, on this machine for a while or on a cluster: connected to, checked, and kept from strangers."""
