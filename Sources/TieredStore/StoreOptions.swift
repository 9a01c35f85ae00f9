/// What a store is built with. Sizes in bytes.
public struct StoreOptions: Sendable {
    /// Number of databases SELECT can choose from; at most 16384: a record has 16 bits for it.
    public var databases = 16
    /// Event loops that will work on the store, 1…64. With one, no lock is taken.
    public var workers = 1
    /// Locks' worth of keys: a power of two, 16…1024.
    public var stripes = 1024
    /// RAM for index, keys, values and staging together; the server derives it from maxmemory.
    public var memoryLimit = 1 << 30
    /// Addresses to reserve for slabs, at most 384 GiB; bounds what the RAM limit can be raised to.
    public var addressSpace = 64 << 30
    public static let addressSpaceMax = 384 << 30
    /// Addresses a slot of the index can tell apart: its offset has 40 bits.
    static let addressLimit = 1 << 40
    /// Addresses reserved in all: for extents four times those of the slabs, or what is left.
    public var reservedAddresses: Int { min(addressSpace * 5, StoreOptions.addressLimit) }
    /// What the RAM limit may be at most: slabs that hold it all still have addresses to overdraw.
    public var memoryLimitMax: Int { addressSpace / 10 * 8 }
    /// Unit in which slabs take RAM: a power of two, 4 KiB…64 KiB.
    public var pageSize = 64 << 10
    /// Unit of append and reclaim on the SSD: a power of two of at most 64 MiB.
    public var segmentSize = 64 << 20
    /// Size the tier file may grow to; rounded down to whole segments.
    public var tierCapacity = 4 << 30
    /// Of a tier file that is there already: bytes before its first segment; 0: a new file.
    public var tierHeaderSize = 0
    /// Segments it has that may hold something, whatever `tierCapacity` says.
    public var tierSegmentsKept = 0
    /// Of what is in the tier file, and how often it was started with.
    public var tierIdentity: UInt64 = 0
    public var tierGeneration: UInt64 = 0
    /// Values longer than this stay in RAM.
    public var tierMaxValue = 64 << 20
    /// Size of one append to the log, and how many a worker may have in flight.
    public var writeBufferSize = 256 << 10
    public var writeBuffers = 8
    /// 4 KiB buffers for cold reads in flight, a worker.
    public var readBuffers = 192
    /// Key of the index hash.
    public var hashSeed: UInt64 = 0x7469_6572_6421
    /// Seed of everything random in the store.
    public var seed: UInt64 = 1

    public init() {}

    /// The small sizes under which every limit is met within seconds: for tests.
    public static var tiny: StoreOptions {
        var options = StoreOptions()
        options.stripes = 16
        options.memoryLimit = 1 << 20
        options.addressSpace = 1 << 30
        options.pageSize = 4 << 10
        options.segmentSize = 64 << 10
        options.tierCapacity = 64 << 20
        options.writeBufferSize = 16 << 10
        options.writeBuffers = 2
        options.readBuffers = 2
        return options
    }
}
