// TierServer
