import Glibc
import Primitives

/// The index of one stripe of one database: key hash → entry.
///
/// Shape:  buckets of eight 8-byte slots, one cache line each; a key lives in its home bucket or,
///         when that overflowed, in the next ones.
///         slot: | overflow 1 | tag 23 | offset 38, in 4 bytes | volatile 1 | resident 1 |
///         The overflow bit counts in the first slot of a bucket alone. An offset of 0 is an empty slot.
/// Why:    the home bucket follows from the tag alone, so that growing touches no entry; the two
///         low bits let sweeps for demotion and expiry pass over entries without loading them.
///         Home buckets are in tag order, so that a SCAN cursor is a tag and survives any growth.
/// The offset field can hold a disk address instead (38 bits of 4 KiB blocks) when keys move to
/// the SSD too.
struct Table {
    typealias Slot = UInt64
    static let overflowBit: UInt64 = 1 << 63
    static let tagShift: UInt64 = 40
    static let tagMask: UInt64 = 0x7f_ffff << 40
    static let offsetMask: UInt64 = 0xff_ffff_fffc
    static let volatileBit: UInt64 = 2
    static let residentBit: UInt64 = 1

    private(set) var slots: UnsafeMutablePointer<Slot>?
    private(set) var buckets: UInt32 = 0
    private(set) var count: UInt32 = 0
    /// Keys with an expiry.
    var volatileCount: UInt32 = 0
    private var overflows: UInt32 = 0

    /// Bits 31…53 of the hash; the stripe is taken from the bits above.
    @inline(__always) static func tag(_ hash: UInt64) -> UInt64 { hash >> 31 & 0x7f_ffff }

    @inline(__always) func home(_ tag: UInt64) -> Int {
        Int(truncatingIfNeeded: (tag &* UInt64(buckets)) >> 23)
    }

    /// Lowest tag whose home is `bucket`.
    func firstTag(of bucket: Int) -> UInt64 {
        (UInt64(bucket) << 23 + UInt64(buckets) - 1) / UInt64(buckets)
    }

    @inline(__always) func prefetch(_ hash: UInt64, _ touch: (UnsafeRawPointer) -> Void) {
        if let slots { touch(slots + home(Table.tag(hash)) * 8) }
    }

    /// The first slot in the home bucket that may be the key's, without looking at the entry.
    @inline(__always) func candidate(_ hash: UInt64) -> Slot {
        guard let slots else { return 0 }
        let tag = Table.tag(hash)
        let bucket = slots + home(tag) * 8
        for i in 0..<8 where (bucket[i] ^ tag << Table.tagShift) & Table.tagMask == 0 {
            if bucket[i] & Table.offsetMask != 0 { return bucket[i] }
        }
        return 0
    }

    @inline(__always)
    func find(_ hash: UInt64, _ key: ByteView, base: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Slot>? {
        find(hash) { Entry(base + Int($0 & Table.offsetMask)).key == key }
    }

    /// The slot of the key whose value is at `address`.
    func find(
        _ hash: UInt64, _ address: Address, base: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<Slot>? {
        find(hash) { Entry(base + Int($0 & Table.offsetMask)).address == address }
    }

    @inline(__always)
    private func find(_ hash: UInt64, _ isIt: (Slot) -> Bool) -> UnsafeMutablePointer<Slot>? {
        guard let slots else { return nil }
        let tag = Table.tag(hash) << Table.tagShift
        let home = home(Table.tag(hash))
        var index = home
        repeat {
            let bucket = slots + index &* 8
            for i in 0..<8 {
                let slot = bucket[i]
                if (slot ^ tag) & Table.tagMask == 0, slot & Table.offsetMask != 0, isIt(slot) {
                    return bucket + i
                }
            }
            if bucket[0] & Table.overflowBit == 0 { return nil }
            index = index + 1 == Int(buckets) ? 0 : index + 1
        } while index != home
        return nil
    }

    /// Every slot whose home is `bucket`, wherever it overflowed to.
    func forEach(home bucket: Int, _ visit: (Slot) -> Void) {
        guard let slots else { return }
        var index = bucket
        repeat {
            for i in 0..<8 where slots[index * 8 + i] & Table.offsetMask != 0 {
                let slot = slots[index * 8 + i]
                if home((slot & Table.tagMask) >> Table.tagShift) == bucket { visit(slot) }
            }
            if slots[index * 8] & Table.overflowBit == 0 { return }
            index = index + 1 == Int(buckets) ? 0 : index + 1
        } while index != bucket
    }

    /// Puts a key that is not there into the table, which must not be full.
    @discardableResult
    mutating func insert(_ tag: UInt64, _ content: UInt64) -> UnsafeMutablePointer<Slot> {
        let slots = self.slots!
        var index = home(tag)
        while true {
            let bucket = slots + index * 8
            for i in 0..<8 where bucket[i] & Table.offsetMask == 0 {
                bucket[i] = bucket[i] & Table.overflowBit | tag << Table.tagShift | content
                count += 1
                return bucket + i
            }
            if bucket[0] & Table.overflowBit == 0 {
                bucket[0] |= Table.overflowBit
                overflows += 1
            }
            index = index + 1 == Int(buckets) ? 0 : index + 1
        }
    }

    mutating func remove(_ slot: UnsafeMutablePointer<Slot>) {
        slot.pointee &= Table.overflowBit
        count -= 1
    }

    // MARK: Size

    /// Bucket counts are 4, 5, 6 or 7 times a power of two: at most a quarter grows at a time.
    private static func step(up buckets: UInt32) -> UInt32 {
        if buckets < 4 { return buckets == 0 ? 1 : buckets * 2 }
        let shift = UInt32(29 - buckets.leadingZeroBitCount)
        return buckets + 1 << shift
    }

    @inline(__always) var needsGrowth: Bool { count &* 10 >= buckets &* 67 }

    /// Overflow marks outlive the keys that made them; past this a rebuild pays. A fresh table has
    /// marks on less than half of its buckets.
    private var isWornOut: Bool {
        overflows > buckets / 2 && (count < buckets * 5 || overflows > buckets / 4 * 3)
    }

    /// Asked before each insertion. Apart from what is done then, so that insertions count no references.
    @inline(__always) var wantsRebuild: Bool { needsGrowth || isWornOut }

    /// Makes room for one more key.
    mutating func rebuildForOne(_ extents: Extents, reserve: Int) {
        _ = rebuild(needsGrowth ? Table.step(up: buckets) : buckets, extents, reserve: reserve)
    }

    /// Makes room for so many keys at once. Keys that come in the order of their tags need it: a table that
    /// grew with them would have all of them in its first buckets.
    mutating func reserve(_ keys: Int, _ extents: Extents) {
        var size = buckets
        while Int(size) * 67 <= keys * 10 { size = Table.step(up: size) }
        if size > buckets { _ = rebuild(size, extents, reserve: StoreWorker.admitted) }
    }

    /// Has the kernel give memory for all buckets at once: faults one by one take longer, and twice as many
    /// come where a bucket is looked at before the first key is put into it.
    func populate() {
        guard let slots, Table.byteCount(buckets) >= 4096 else { return }
        AddressSpace.populate(slots, count: Table.byteCount(buckets))
    }

    /// Gives back what was reserved in vain.
    mutating func fit(_ extents: Extents) {
        var size: UInt32 = 1
        while size * 67 <= count * 10 { size = Table.step(up: size) }
        if size < buckets { _ = rebuild(size, extents, reserve: StoreWorker.admitted) }
    }

    /// Gives room back after many removals.
    mutating func shrinkIfSparse(_ extents: Extents) {
        guard buckets > 4, count < buckets * 2 else { return }
        _ = rebuild(max(1, buckets / 2), extents, reserve: 0)
    }

    private static func byteCount(_ buckets: UInt32) -> Int { Int(buckets) * 64 }

    private static func allocate(
        _ buckets: UInt32, _ extents: Extents, reserve: Int
    ) -> UnsafeMutablePointer<Slot>? {
        let bytes = byteCount(buckets)
        if bytes < 4096 {
            guard let memory = aligned_alloc(64, bytes) else { return nil }
            memset(memory, 0, bytes)
            return memory.assumingMemoryBound(to: Slot.self)
        }
        let memory = extents.allocate(bytes, charging: bytes, reserve: reserve)
        return memory?.assumingMemoryBound(to: Slot.self)
    }

    private static func release(_ slots: UnsafeMutablePointer<Slot>, _ buckets: UInt32, _ extents: Extents) {
        let bytes = byteCount(buckets)
        if bytes < 4096 { return Glibc.free(slots) }
        extents.free(slots, bytes: bytes, charged: bytes)
    }

    private mutating func rebuild(_ size: UInt32, _ extents: Extents, reserve: Int) -> Bool {
        guard let fresh = Table.allocate(size, extents, reserve: reserve) else { return false }
        let old = slots, oldBuckets = buckets
        slots = fresh
        buckets = size
        count = 0
        overflows = 0
        if let old {
            for i in 0..<Int(oldBuckets) * 8 where old[i] & Table.offsetMask != 0 {
                let slot = old[i]
                insert((slot & Table.tagMask) >> Table.tagShift, slot & ~(Table.tagMask | Table.overflowBit))
            }
            Table.release(old, oldBuckets, extents)
        }
        return true
    }

    mutating func destroy(_ extents: Extents) {
        if let slots { Table.release(slots, buckets, extents) }
        self = Table()
    }
}
