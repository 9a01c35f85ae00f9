// tierctl
