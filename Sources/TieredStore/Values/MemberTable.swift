import Glibc
import Primitives

/// A member of a large hash, set or sorted set as it lies in its cell.
///
/// Shape:  | key length << 1 | expires, LEB128 | payload length, LEB128 | expiry 8, if any | key … |
///         payload … |. Payload: a hash field's value; a sorted set's score, 8 bytes; nothing in a set.
/// Units:  expiry in Unix milliseconds.
struct Member {
    let at: UnsafeMutableRawPointer
    let key: ByteView
    let payload: ByteView
    let expires: Bool

    @inline(__always)
    init(_ at: UnsafeMutableRawPointer) {
        self.at = at
        var offset = 0
        let first = Member.readLength(at, &offset)
        let payloadCount = Member.readLength(at, &offset)
        expires = first & 1 != 0
        if expires { offset += 8 }
        key = ByteView(at + offset, first >> 1)
        payload = ByteView(at + offset + first >> 1, payloadCount)
    }

    @inline(__always)
    private static func readLength(_ at: UnsafeMutableRawPointer, _ offset: inout Int) -> Int {
        var byte = Int(at.load(fromByteOffset: offset, as: UInt8.self))
        offset += 1
        if byte < 128 { return byte }
        var value = byte & 127, shift = 7
        repeat {
            byte = Int(at.load(fromByteOffset: offset, as: UInt8.self))
            value |= (byte & 127) << shift
            shift += 7
            offset += 1
        } while byte >= 128
        return value
    }

    private static func lengthBytes(_ value: Int) -> Int {
        value < 1 << 7 ? 1 : value < 1 << 14 ? 2 : value < 1 << 21 ? 3 : value < 1 << 28 ? 4 : 5
    }

    private static func write(_ value: Int, _ at: UnsafeMutableRawPointer, _ offset: inout Int) {
        var rest = value
        while rest >= 128 {
            at.storeBytes(of: UInt8(truncatingIfNeeded: rest | 128), toByteOffset: offset, as: UInt8.self)
            rest >>= 7
            offset += 1
        }
        at.storeBytes(of: UInt8(rest), toByteOffset: offset, as: UInt8.self)
        offset += 1
    }

    /// Bytes of a cell for such a member.
    static func size(key: Int, payload: Int, expires: Bool) -> Int {
        lengthBytes(key << 1) + lengthBytes(payload) + (expires ? 8 : 0) + key + payload
    }

    var size: Int { Member.size(key: key.count, payload: payload.count, expires: expires) }

    static func write(_ key: ByteView, _ payload: ByteView, expiry: Int64?, at: UnsafeMutableRawPointer) {
        var offset = 0
        write(key.count << 1 | (expiry == nil ? 0 : 1), at, &offset)
        write(payload.count, at, &offset)
        if let expiry {
            at.storeBytes(of: expiry, toByteOffset: offset, as: Int64.self)
            offset += 8
        }
        (at + offset).copyMemory(from: key.base, byteCount: key.count)
        (at + offset + key.count).copyMemory(from: payload.base, byteCount: payload.count)
    }

    var expiry: Int64? { expires ? (key.base - 8).loadUnaligned(as: Int64.self) : nil }

    /// A sorted set's score.
    @inline(__always)
    var score: Double { payload.base.loadUnaligned(as: Double.self) }

    func setScore(_ score: Double) {
        UnsafeMutableRawPointer(mutating: payload.base).storeBytes(of: score, as: Double.self)
    }
}

/// Members by key: the hash table of a large hash, set or sorted set.
///
/// Shape:  a directory of 2^depth references to segments; a segment is a table of its own, of up to 1024
///         slots with linear probing, for all hashes with its first bits. Segment cell: | depth 1 |
///         log2 of slots 1 | spare 2 | count 4 | slots 8 × n |. Slot: | hash 32 | member's cell 32 |.
/// Why:    a segment that is full splits: no growth ever moves more than 1024 slots. Members lie in the
///         order of their hash, in whatever shape the table is, so that a cursor is a hash.
/// Source: extendible hashing (Fagin et al., TODS 1979).
struct MemberTable {
    static let segmentBits = 10
    static let firstBits = 5

    let heap: CellHeap
    private var directory: UnsafeMutablePointer<CellHeap.Reference>
    private var depth = 0
    /// Segments whose depth is the directory's.
    private var deepest = 1
    private(set) var count = 0

    init(_ heap: CellHeap) {
        self.heap = heap
        directory = .allocate(capacity: 1)
        directory.initialize(to: MemberTable.makeSegment(heap, depth: 0, bits: MemberTable.firstBits))
    }

    func deallocate() { directory.deallocate() }

    // MARK: Segments

    private struct Segment {
        let at: UnsafeMutableRawPointer

        var depth: Int { Int(at.load(as: UInt8.self)) }
        var bits: Int { Int(at.load(fromByteOffset: 1, as: UInt8.self)) }
        var count: Int {
            get { Int(at.load(fromByteOffset: 4, as: UInt32.self)) }
            nonmutating set { at.storeBytes(of: UInt32(newValue), toByteOffset: 4, as: UInt32.self) }
        }
        var slots: UnsafeMutablePointer<UInt64> { (at + 8).assumingMemoryBound(to: UInt64.self) }

        @inline(__always)
        func home(_ hash: UInt32) -> Int { Int((hash << UInt32(depth)) >> UInt32(32 - bits)) }
    }

    private static func makeSegment(_ heap: CellHeap, depth: Int, bits: Int) -> CellHeap.Reference {
        let size = 8 + 8 << bits
        let reference = heap.allocate(size)
        let at = heap.pointer(reference)
        memset(at, 0, size)
        at.storeBytes(of: UInt8(depth), as: UInt8.self)
        at.storeBytes(of: UInt8(bits), toByteOffset: 1, as: UInt8.self)
        return reference
    }

    @inline(__always)
    private func place(_ hash: UInt32) -> Int { depth == 0 ? 0 : Int(hash >> UInt32(32 - depth)) }

    @inline(__always)
    private func segment(_ hash: UInt32) -> Segment { Segment(at: heap.pointer(directory[place(hash)])) }

    // MARK: Finding

    @inline(__always)
    static func short(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 32) }

    @inline(__always)
    private func findSlot(_ key: ByteView, _ hash: UInt32) -> (Segment, Int)? {
        let segment = segment(hash)
        let slots = segment.slots, mask = 1 << segment.bits - 1
        var at = segment.home(hash)
        while slots[at] != 0 {
            if UInt32(truncatingIfNeeded: slots[at] >> 32) == hash,
                Member(heap.pointer(UInt32(truncatingIfNeeded: slots[at]))).key == key {
                return (segment, at)
            }
            at = (at + 1) & mask
        }
        return nil
    }

    /// The cell of a member, or 0.
    @inline(__always)
    func find(_ key: ByteView, _ hash: UInt32) -> CellHeap.Reference {
        guard let (segment, at) = findSlot(key, hash) else { return 0 }
        return UInt32(truncatingIfNeeded: segment.slots[at])
    }

    @inline(__always)
    func member(_ reference: CellHeap.Reference) -> Member { Member(heap.pointer(reference)) }

    // MARK: Changing

    /// Adds a member that is not there; returns its cell.
    mutating func insert(
        _ key: ByteView, _ payload: ByteView, _ hash: UInt32, expiry: Int64? = nil
    ) -> CellHeap.Reference {
        let cell = heap.allocate(
            Member.size(key: key.count, payload: payload.count, expires: expiry != nil))
        Member.write(key, payload, expiry: expiry, at: heap.pointer(cell))
        makeRoom(hash)
        MemberTable.put(segment(hash), UInt64(hash) << 32 | UInt64(cell), hash)
        count += 1
        return cell
    }

    private static func put(_ segment: Segment, _ slot: UInt64, _ hash: UInt32) {
        let slots = segment.slots, mask = 1 << segment.bits - 1
        var at = segment.home(hash)
        while slots[at] != 0 { at = (at + 1) & mask }
        slots[at] = slot
        segment.count += 1
    }

    /// Gives a member another payload or expiry; its cell may be another afterwards.
    mutating func update(_ key: ByteView, _ payload: ByteView, _ hash: UInt32, expiry: Int64?) {
        guard let (segment, at) = findSlot(key, hash) else { return }
        let cell = UInt32(truncatingIfNeeded: segment.slots[at])
        let old = Member(heap.pointer(cell)), oldSize = old.size
        if payload.count == old.payload.count, expiry == old.expiry {
            UnsafeMutableRawPointer(mutating: old.payload.base)
                .copyMemory(from: payload.base, byteCount: payload.count)
            return
        }
        let size = Member.size(key: key.count, payload: payload.count, expires: expiry != nil)
        let fresh = heap.allocate(size)
        Member.write(old.key, payload, expiry: expiry, at: heap.pointer(fresh))
        segment.slots[at] = UInt64(hash) << 32 | UInt64(fresh)
        heap.free(cell, oldSize)
    }

    /// Takes a member out and frees its cell; false if it is not there.
    @discardableResult
    mutating func remove(_ key: ByteView, _ hash: UInt32) -> Bool {
        guard let (segment, found) = findSlot(key, hash) else { return false }
        let slots = segment.slots, mask = 1 << segment.bits - 1
        let cell = UInt32(truncatingIfNeeded: slots[found])
        heap.free(cell, Member(heap.pointer(cell)).size)
        // Close the gap: whoever may move back does.
        var gap = found, at = (found + 1) & mask
        while slots[at] != 0 {
            let home = segment.home(UInt32(truncatingIfNeeded: slots[at] >> 32))
            if (at - home) & mask >= (at - gap) & mask {
                slots[gap] = slots[at]
                gap = at
            }
            at = (at + 1) & mask
        }
        slots[gap] = 0
        segment.count -= 1
        count -= 1
        shrink(hash)
        return true
    }

    // MARK: Growing and shrinking

    private mutating func makeRoom(_ hash: UInt32) {
        while true {
            let segment = segment(hash)
            if (segment.count + 1) * 5 <= 4 << segment.bits { return }
            if segment.bits < MemberTable.segmentBits {
                resize(hash, bits: segment.bits + 1)
            } else {
                split(hash)
            }
        }
    }

    private mutating func resize(_ hash: UInt32, bits: Int) {
        let old = directory[place(hash)]
        let segment = Segment(at: heap.pointer(old))
        let fresh = MemberTable.makeSegment(heap, depth: segment.depth, bits: bits)
        move(segment) { _ in fresh }
        replace(place(hash), depth: segment.depth, with: fresh)
        heap.free(old, 8 + 8 << segment.bits)
    }

    private func move(_ segment: Segment, to target: (UInt32) -> CellHeap.Reference) {
        for i in 0..<(1 << segment.bits) where segment.slots[i] != 0 {
            let hash = UInt32(truncatingIfNeeded: segment.slots[i] >> 32)
            MemberTable.put(Segment(at: heap.pointer(target(hash))), segment.slots[i], hash)
        }
    }

    /// Points all places of the directory that share the first `depth` bits at `reference`.
    private func replace(_ place: Int, depth: Int, with reference: CellHeap.Reference) {
        let span = 1 << (self.depth - depth)
        let first = place & ~(span - 1)
        for i in first..<first + span { directory[i] = reference }
    }

    private mutating func split(_ hash: UInt32) {
        let old = directory[place(hash)]
        let segment = Segment(at: heap.pointer(old))
        if segment.depth == depth { doubleDirectory() }
        let below = segment.depth + 1
        let low = MemberTable.makeSegment(heap, depth: below, bits: MemberTable.segmentBits)
        let high = MemberTable.makeSegment(heap, depth: below, bits: MemberTable.segmentBits)
        move(segment) { $0 >> UInt32(32 - below) & 1 == 0 ? low : high }
        let bit = 1 << (depth - below)
        replace(place(hash) & ~bit, depth: below, with: low)
        replace(place(hash) | bit, depth: below, with: high)
        if below == depth { deepest += 2 }
        heap.free(old, 8 + 8 << segment.bits)
    }

    private mutating func doubleDirectory() {
        let larger = UnsafeMutablePointer<CellHeap.Reference>.allocate(capacity: 2 << depth)
        for i in 0..<(1 << depth) {
            larger[2 * i] = directory[i]
            larger[2 * i + 1] = directory[i]
        }
        directory.deallocate()
        directory = larger
        depth += 1
        deepest = 0
    }

    /// Joins a sparse segment with its buddy, or makes the only one smaller.
    private mutating func shrink(_ hash: UInt32) {
        let segment = segment(hash)
        guard segment.depth > 0 else {
            if segment.bits > MemberTable.firstBits, segment.count * 5 < 1 << segment.bits {
                resize(hash, bits: segment.bits - 1)
            }
            return
        }
        guard segment.count * 8 < 1 << segment.bits else { return }
        let here = place(hash), bit = 1 << (depth - segment.depth)
        let buddy = Segment(at: heap.pointer(directory[here ^ bit]))
        guard buddy.depth == segment.depth, (segment.count + buddy.count) * 10 < 3 << segment.bits
        else { return }
        let fresh = MemberTable.makeSegment(
            heap, depth: segment.depth - 1, bits: MemberTable.segmentBits)
        let mine = directory[here], other = directory[here ^ bit]
        move(segment) { _ in fresh }
        move(buddy) { _ in fresh }
        if segment.depth == depth { deepest -= 2 }
        replace(here, depth: segment.depth - 1, with: fresh)
        heap.free(mine, 8 + 8 << MemberTable.segmentBits)
        heap.free(other, 8 + 8 << MemberTable.segmentBits)
        while depth > 0, deepest == 0 { halveDirectory() }
    }

    private mutating func halveDirectory() {
        depth -= 1
        deepest = 0
        for i in 0..<(1 << depth) {
            directory[i] = directory[2 * i]
            if Segment(at: heap.pointer(directory[i])).depth == depth { deepest += 1 }
        }
        let smaller = UnsafeMutablePointer<CellHeap.Reference>.allocate(capacity: 1 << depth)
        smaller.initialize(from: directory, count: 1 << depth)
        directory.deallocate()
        directory = smaller
    }

    // MARK: Walking

    /// Visits members in the order of their hash, from `cursor` on, until `visit` has been given at
    /// least `limit`; members of one home come together. Returns the next cursor, 0 at the end.
    func walk(from cursor: UInt64, atLeast limit: Int, _ visit: (CellHeap.Reference) -> Void) -> UInt64 {
        var position = cursor, seen = 0
        while position < 1 << 32 {
            let segment = segment(UInt32(truncatingIfNeeded: position))
            let slots = segment.slots, mask = 1 << segment.bits - 1
            let width = UInt64(1) << UInt64(32 - segment.depth - segment.bits)
            var home = segment.home(UInt32(truncatingIfNeeded: position))
            position &= ~(width - 1)
            while home <= mask {
                var at = home
                while slots[at] != 0 {
                    if segment.home(UInt32(truncatingIfNeeded: slots[at] >> 32)) == home {
                        visit(UInt32(truncatingIfNeeded: slots[at]))
                        seen += 1
                    }
                    at = (at + 1) & mask
                    if at == home { break }
                }
                home += 1
                position += width
                if seen >= limit { return position < 1 << 32 ? position : 0 }
            }
        }
        return 0
    }

    /// Visits all members, in no order; stops when `visit` returns false.
    func forEach(_ visit: (CellHeap.Reference) -> Bool) {
        var place = 0
        while place < 1 << depth {
            let segment = Segment(at: heap.pointer(directory[place]))
            for i in 0..<(1 << segment.bits) where segment.slots[i] != 0 {
                if !visit(UInt32(truncatingIfNeeded: segment.slots[i])) { return }
            }
            place += 1 << (depth - segment.depth)
        }
    }

    /// A member, each as likely as any other. The table must not be empty.
    func random(_ random: inout Random) -> CellHeap.Reference {
        precondition(count > 0, "an empty table has no member")
        while true {
            let pick = random.next()
            let segment = Segment(at: heap.pointer(directory[Int(pick & (1 << UInt64(depth) - 1))]))
            // A shallow segment is in several places of the directory.
            let rest = random.next()
            if rest >> 32 & (1 << UInt64(depth - segment.depth) - 1) != 0 { continue }
            let slot = segment.slots[Int(rest & (1 << UInt64(segment.bits) - 1))]
            if slot != 0 { return UInt32(truncatingIfNeeded: slot) }
        }
    }
}
