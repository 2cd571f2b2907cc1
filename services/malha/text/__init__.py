"""What speech recognition leaves untidy: fillers, a tenant's own words, numbers in words. Pure functions on tokens, for Portuguese, Spanish and English."""
