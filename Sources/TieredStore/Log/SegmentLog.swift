import Primitives
import Synchronization

/// The tier file as segments: which are free, open, sealed, and how much of each is alive.
///
/// Shape:  superblock and segment table in the first `headerSize` bytes (see `Superblock`), then
///         segments of `segmentSize`, each beginning with a 4 KiB header block.
/// Shared by all workers. Live bytes are atomic; states are guarded by the lock, which is last in
/// the lock order.
public final class SegmentLog: @unchecked Sendable {
    public enum State: UInt8, Sendable { case free, open, sealed, compacting, retired }
    public enum Stream: UInt8, Sendable { case demotion, compaction }

    struct Segment: ~Copyable {
        let liveBytes = Atomic<Int>(0)
        /// Writes on their way: the segment must not be reused before they end.
        let pendingWrites = Atomic<Int>(0)
        var state = State.free
        var version: UInt32 = 0
        /// Bytes appended: the header, records, and what blocks were left open.
        var used = 0
        /// Footprints of the records appended: what live bytes are counted in.
        var filled = 0
        var prepared = false
        /// Number of seals when it was sealed.
        var sealedAt = 0
        /// Not claimed again before so many claims: it was compacted and something stayed.
        var notBefore = 0
        /// Number of the checkpoint before which it was retired.
        var retiredAt = 0
    }

    public let segmentSize: Int
    public let segmentCount: Int
    public let headerSize: Int
    /// Of what is in the file, and the count of starts: a checkpoint belongs to both.
    public private(set) var identity: UInt64
    public let generation: UInt64
    let segments: UnsafeMutablePointer<Segment>
    let lock = SpinLock()
    var free: [Int] = []
    /// Segments from here on are not opened any more: tier-max-bytes was lowered.
    public let usableCount: Int
    private var claims = 0
    private var seals = 0
    let nextSequence = Atomic<UInt64>(1)
    let freeCountWord: Atomic<Int>
    let inUseWord = Atomic<Int>(0)
    let usedHighWater = Atomic<Int>(0)
    let retiredCountWord = Atomic<Int>(0)
    /// Freed segments are kept until the next checkpoint: the last one may refer to them.
    var keeps = false
    /// Number of the last checkpoint that was begun.
    var checkpoints = 0
    /// Segments kept back so that compaction can always move its survivors.
    let reserve: Int
    /// With fewer, the loops' open segments would leave nothing to compact.
    public let leastSegments: Int
    /// The disk refused to give more room; counted as full until something is freed.
    private let noSpace = Atomic<Bool>(false)

    init(options: StoreOptions) {
        segmentSize = options.segmentSize
        identity = options.tierIdentity
        generation = options.tierGeneration
        let wanted = min(options.tierCapacity / options.segmentSize, Address.segmentLimit - 1)
        headerSize = options.tierHeaderSize > 0
            ? options.tierHeaderSize : Superblock.reserved(segments: wanted)
        let rows = Superblock.rows(headerSize: headerSize)
        segmentCount = min(max(wanted, options.tierSegmentsKept), rows)
        usableCount = min(wanted, rows)
        segments = .allocate(capacity: max(1, segmentCount))
        for i in 0..<segmentCount { (segments + i).initialize(to: Segment()) }
        free = Array((0..<usableCount).reversed())
        freeCountWord = Atomic(usableCount)
        reserve = min(max(1, usableCount / 4), options.workers + 1)
        leastSegments = 4 * options.workers
    }

    deinit {
        segments.deinitialize(count: segmentCount)
        segments.deallocate()
    }

    /// Nothing that is in the file is wanted: segments written so far are of another identity.
    public func startAnew(identity: UInt64) { self.identity = identity }

    public var freeCount: Int { freeCountWord.load(ordering: .relaxed) }
    /// Bytes of the file that have been in use.
    public var fileBytes: Int { headerSize + usedHighWater.load(ordering: .relaxed) * segmentSize }
    /// Segments that hold something, or are kept for the last checkpoint.
    public var inUseCount: Int { inUseWord.load(ordering: .relaxed) }
    public var usedBytes: Int { inUseCount * segmentSize }
    public var capacityBytes: Int { segmentCount * segmentSize }

    public var liveBytes: Int {
        (0..<segmentCount).reduce(0) { $0 + segments[$1].liveBytes.load(ordering: .relaxed) }
    }

    func sequence() -> UInt64 { nextSequence.add(1, ordering: .relaxed).oldValue }

    public func position(_ segment: Int, _ offset: Int) -> Int { headerSize + segment * segmentSize + offset }

    func version(_ segment: Int) -> UInt32 { segments[segment].version }

    /// Opens a free segment, or returns nil: demotion must leave the reserve to compaction.
    func open(for stream: Stream) -> Int? {
        lock.lock()
        defer { lock.unlock() }
        if stream == .demotion, free.count <= reserve { return nil }
        guard let segment = takeFree() else { return nil }
        freeCountWord.subtract(1, ordering: .relaxed)
        inUseWord.add(1, ordering: .relaxed)
        segments[segment].state = .open
        segments[segment].version &+= 1
        segments[segment].notBefore = 0
        segments[segment].used = 0
        if segment >= usedHighWater.load(ordering: .relaxed) {
            usedHighWater.store(segment + 1, ordering: .relaxed)
        }
        return segment
    }

    /// The next free segment; when the disk is full, one that already has its blocks.
    private func takeFree() -> Int? {
        guard noSpace.load(ordering: .relaxed) else { return free.popLast() }
        guard let at = free.lastIndex(where: { segments[$0].prepared }) else { return nil }
        return free.remove(at: at)
    }

    /// Whether the file has had blocks allocated for the segment before; marks it so.
    func prepare(_ segment: Int) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        defer { segments[segment].prepared = true }
        return segments[segment].prepared
    }

    /// The disk refused to give more blocks: only segments that have theirs are opened until
    /// something is freed.
    var isOutOfSpace: Bool {
        get { noSpace.load(ordering: .relaxed) }
        set { noSpace.store(newValue, ordering: .relaxed) }
    }

    func unprepare(_ segment: Int) {
        lock.lock()
        segments[segment].prepared = false
        lock.unlock()
    }

    func seal(_ segment: Int, used: Int, filled: Int) {
        lock.lock()
        segments[segment].state = .sealed
        segments[segment].used = used
        segments[segment].filled = filled
        seals += 1
        segments[segment].sealedAt = seals
        lock.unlock()
        freeIfEmpty(segment)
    }

    func add(_ address: Address) {
        segments[address.segment].liveBytes.add(address.footprint, ordering: .relaxed)
    }

    /// One record less is alive. Only counters move; the disk is not touched.
    func forget(_ address: Address) { subtract(address.segment, address.footprint) }

    func subtract(_ segment: Int, _ bytes: Int) {
        let left = segments[segment].liveBytes.subtract(bytes, ordering: .acquiringAndReleasing).newValue
        if left == 0 { freeIfEmpty(segment) }
    }

    func writeStarted(_ segment: Int) { segments[segment].pendingWrites.add(1, ordering: .relaxed) }

    func writeEnded(_ segment: Int) {
        let left = segments[segment].pendingWrites.subtract(1, ordering: .acquiringAndReleasing).newValue
        if left == 0 { freeIfEmpty(segment) }
    }

    /// Frees a segment nothing alive and nothing on its way is left in.
    func freeIfEmpty(_ segment: Int) {
        lock.lock()
        defer { lock.unlock() }
        guard segments[segment].state == .sealed,
            segments[segment].liveBytes.load(ordering: .acquiring) == 0,
            segments[segment].pendingWrites.load(ordering: .acquiring) == 0
        else { return }
        if keeps { retire(segment) } else { release(segment) }
    }

    /// The segment may be opened again. The caller holds the lock.
    func release(_ segment: Int) {
        segments[segment].state = .free
        segments[segment].used = 0
        segments[segment].filled = 0
        inUseWord.subtract(1, ordering: .relaxed)
        noSpace.store(false, ordering: .relaxed)
        guard segment < usableCount else { return }
        free.append(segment)
        freeCountWord.add(1, ordering: .relaxed)
    }

    /// Takes a segment the disk fails on out of use once nothing in it is alive.
    func returnUnwritten(_ segment: Int) {
        lock.lock()
        segments[segment].state = .sealed
        lock.unlock()
        freeIfEmpty(segment)
    }

    /// Room that `live` bytes of the segment's records will take elsewhere: they leave blocks and the
    /// segment's end open there as they do here, which compaction cannot gain back. Only a segment
    /// that was closed early has an end to gain.
    func room(for live: Int, of segment: Int) -> Int {
        let filled = segments[segment].filled, used = segments[segment].used
        guard filled > 0 else { return live }
        let taken = used > segmentSize / 4 * 3 ? segmentSize : used
        return Int(Double(live) * Double(taken) / Double(filled))
    }

    private func liveRoom(_ segment: Int) -> Int {
        room(for: segments[segment].liveBytes.load(ordering: .relaxed), of: segment)
    }

    /// Claims the sealed segment whose live records take the least room, if that is a share of the
    /// segment below `limit`, and if it was sealed by the time `sealCount` was `before`.
    func claimVictim(below limit: Double, before: Int = .max) -> Int? {
        lock.lock()
        defer { lock.unlock() }
        var best = -1, least = Int(Double(segmentSize) * limit)
        for i in 0..<usedHighWater.load(ordering: .relaxed) where segments[i].state == .sealed {
            let isQuiet = segments[i].pendingWrites.load(ordering: .relaxed) == 0
            guard claims >= segments[i].notBefore, segments[i].sealedAt <= before, isQuiet
            else { continue }
            let room = liveRoom(i)
            if room < least {
                best = i
                least = room
            }
        }
        claims += 1
        guard best >= 0 else { return nil }
        segments[best].state = .compacting
        return best
    }

    /// Segments sealed so far.
    var sealCount: Int {
        lock.lock()
        defer { lock.unlock() }
        return seals
    }

    /// Whether `claimVictim` would find one now, or one is being emptied.
    func hasVictim(below limit: Double) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let most = Int(Double(segmentSize) * limit)
        return (0..<usedHighWater.load(ordering: .relaxed)).contains {
            segments[$0].state == .compacting
                || segments[$0].state == .sealed
                    && liveRoom($0) < most
        }
    }

    /// Compaction has read the whole victim; it is free as soon as its survivors have arrived.
    func releaseVictim(_ segment: Int) {
        lock.lock()
        segments[segment].state = .sealed
        segments[segment].notBefore = claims + 64
        lock.unlock()
        freeIfEmpty(segment)
    }

    /// A segment's row of the segment table.
    public func row(_ segment: Int) -> Superblock.SegmentRow {
        lock.lock()
        defer { lock.unlock() }
        let s = segments + segment
        return Superblock.SegmentRow(
            state: s.pointee.state, version: s.pointee.version, used: s.pointee.used,
            live: s.pointee.liveBytes.load(ordering: .relaxed), filled: s.pointee.filled,
            isPrepared: s.pointee.prepared)
    }

    /// State, version, bytes appended and bytes alive of a segment.
    public func describe(_ segment: Int) -> (state: State, version: UInt32, used: Int, live: Int) {
        lock.lock()
        defer { lock.unlock() }
        let s = segments + segment
        return (s.pointee.state, s.pointee.version, s.pointee.used,
            s.pointee.liveBytes.load(ordering: .relaxed))
    }
}
