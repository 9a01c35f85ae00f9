import TieredStore

/// The rows of INFO.
enum Info {
    static func tier(_ server: ServerState) -> [(String, String)] {
        let c = server.store.counters
        return [("tier_demotions_total", "\(c.demotions)"), ("tier_promotions_total", "\(c.promotions)"), ("tier_items_demoted", "\(server.store.demotedItems)"),
        ("tier_items_resident", "\(server.store.residentItems)"), ("tier_ram_bytes", "\(server.store.ledger.used)"), ("tier_limit", "\(server.store.ledger.limit)"),
        ("slabs", "\(server.store.slabUsage)"), ("written", "\(c.bytesWritten)"), ("wa", "\(c.writeAmplification)"), ("throttled", "\(c.throttled)"), ("moved", "\(c.cellsMoved)"), ("cold", "\(c.coldReads)"), ("free", "\(server.store.log.freeCount)"), ("crc", "\(c.checksumErrors) \(c.readErrors) \(c.writeErrors)"),("compactions", "\(c.compactions) \(c.relocations)")]
    }
}
