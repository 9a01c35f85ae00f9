import RESPFront
import TieredStore

/// What the store is built with, from the settings and the machine.
extension StoreOptions {
    /// Units: bytes of RAM the machine has, and of disk the tier file can get. `tier`: the tier file whose
    /// contents are kept; its hash seed and segment size count.
    init(
        _ configuration: Configuration, cores: Int, machineBytes: Int, diskBytes: Int,
        tier: (superblock: Superblock, segments: Int)? = nil
    ) {
        self.init()
        databases = configuration.databases
        workers = max(1, min(64, configuration.ioThreads == 0 ? cores : configuration.ioThreads))
        let limit = MemoryBudget.processLimit(configuration, machineBytes: machineBytes)
        addressSpace = min(StoreOptions.addressSpaceMax, max(4 << 30, max(limit, machineBytes) * 4))
        memoryLimit = min(limit, memoryLimitMax)
        if limit < 64 << 20 {
            pageSize = 16 << 10
            stripes = 64
            writeBuffers = 4
            writeBufferSize = 64 << 10
            readBuffers = 32
        }
        // Each stripe has a table for each database: many databases get fewer stripes.
        while stripes > 64, stripes * databases > 1 << 20 { stripes /= 2 }
        tierCapacity = configuration.tierMaxBytes > 0 ? configuration.tierMaxBytes : diskBytes / 10 * 8
        segmentSize = configuration.tierSegmentBytes
        if segmentSize == 0 {
            // Every loop holds two open, compaction needs some, and the rest are to be chosen from.
            let wanted = 64 * (workers + 1)
            segmentSize = 64 << 20
            while segmentSize > 256 << 10, tierCapacity / segmentSize < wanted { segmentSize /= 2 }
        }
        if let tier {
            segmentSize = tier.superblock.segmentSize
            tierHeaderSize = tier.superblock.headerSize
            tierSegmentsKept = tier.segments
        }
        writeBufferSize = min(writeBufferSize, segmentSize / 4)
        tierMaxValue = configuration.tierMaxValue
        var random = SystemRandomNumberGenerator()
        let fresh = random.next()
        hashSeed = tier?.superblock.hashSeed ?? fresh
        let known = tier?.superblock.identity ?? 0
        tierIdentity = known != 0 ? known : random.next() | 1
        seed = random.next()
    }
}
