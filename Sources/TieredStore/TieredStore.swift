// TieredStore
