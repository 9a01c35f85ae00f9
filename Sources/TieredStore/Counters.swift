import Primitives

/// What one worker has counted since start or CONFIG RESETSTAT. Read while the world is stopped.
public struct Counters {
    public var keyspaceHits: UInt64 = 0
    public var keyspaceMisses: UInt64 = 0
    public var expiredKeys: UInt64 = 0
    /// Fields of hashes whose time was over.
    public var expiredFields: UInt64 = 0
    public var evictedKeys: UInt64 = 0
    /// Values needed and found in RAM.
    public var ramHits: UInt64 = 0
    /// Values needed and read from the SSD.
    public var coldReads: UInt64 = 0
    public var promotions: UInt64 = 0
    /// Of these, values that were in RAM before a restart and came back by themselves.
    public var warmedValues: UInt64 = 0
    /// Values whose RAM was freed; of these, ones the SSD already held.
    public var demotions: UInt64 = 0
    public var cleanDemotions: UInt64 = 0
    /// Resident values the demotion hand has looked at.
    public var demotionVisits: UInt64 = 0
    public var compactions: UInt64 = 0
    public var relocations: UInt64 = 0
    /// Bytes sent to the SSD, and the part of them that was written for the first time.
    public var bytesWritten: UInt64 = 0
    public var recordBytesDemoted: UInt64 = 0
    public var bytesRead: UInt64 = 0
    public var compactionBytesRead: UInt64 = 0
    public var checksumErrors: UInt64 = 0
    public var readErrors: UInt64 = 0
    public var writeErrors: UInt64 = 0
    /// Commands that had to wait for RAM.
    public var throttled: UInt64 = 0
    public var cellsMoved: UInt64 = 0
    public var coldReadLatency = LatencyHistogram()

    public init() {}

    public mutating func add(_ other: Counters) {
        keyspaceHits += other.keyspaceHits
        keyspaceMisses += other.keyspaceMisses
        expiredKeys += other.expiredKeys
        expiredFields += other.expiredFields
        evictedKeys += other.evictedKeys
        ramHits += other.ramHits
        coldReads += other.coldReads
        promotions += other.promotions
        warmedValues += other.warmedValues
        demotions += other.demotions
        cleanDemotions += other.cleanDemotions
        demotionVisits += other.demotionVisits
        compactions += other.compactions
        relocations += other.relocations
        bytesWritten += other.bytesWritten
        recordBytesDemoted += other.recordBytesDemoted
        bytesRead += other.bytesRead
        compactionBytesRead += other.compactionBytesRead
        checksumErrors += other.checksumErrors
        readErrors += other.readErrors
        writeErrors += other.writeErrors
        throttled += other.throttled
        cellsMoved += other.cellsMoved
        coldReadLatency.add(other.coldReadLatency)
    }

    /// Bytes written to the SSD for each byte of record demoted; 1 before the first.
    public var writeAmplification: Double {
        recordBytesDemoted == 0 ? 1 : Double(bytesWritten) / Double(recordBytesDemoted)
    }
}
