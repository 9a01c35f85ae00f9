import Glibc
import Primitives

/// A stream: entries by ID in blocks, and consumer groups. Always a structure, however small.
///
/// Cost: O(1) at the end, O(log blocks) to find an ID; a block is decoded from its beginning.
public final class Stream: Structure {
    private(set) var blocks: [StreamBlock] = []
    /// Blocks before this one are gone.
    private var head = 0
    public private(set) var length = 0
    public internal(set) var lastID = StreamID.zero
    public internal(set) var maxDeletedID = StreamID.zero
    public internal(set) var entriesAdded: UInt64 = 0
    /// By name.
    public internal(set) var groups: [ConsumerGroup] = []
    /// Of the RDB encoding being read: 1, 2 or 3.
    var encodingVersion = 2
    /// Bytes of all blocks in the RDB encoding.
    private var nodeBytes = 0

    /// Redis's stream-node-max-bytes and -entries.
    public struct Limits: Sendable {
        public var bytes = 4096
        public var entries = 100
        public init() {}
    }

    public override var count: Int { length }
    override var heldBytes: Int { super.heldBytes + blocks.capacity * MemoryLayout<StreamBlock>.stride }

    public var blockCount: Int { blocks.count - head }

    // MARK: Adding

    /// Adds an entry behind all others. `id` must be greater than `lastID`; fields and values in turn.
    public func add(_ id: StreamID, _ pairs: [Element], _ limits: Limits) {
        let raw = pairs.reduce(0) { $0 + $1.count }
        let isNew = blockCount == 0 || isFull(blocks[blocks.count - 1], raw, limits)
        if isNew { open(id, pairs) }
        append(id, pairs)
        length += 1
        lastID = id
        entriesAdded += 1
    }

    private func isFull(_ block: StreamBlock, _ raw: Int, _ limits: Limits) -> Bool {
        let most = limits.bytes == 0 ? 1 << 30 : min(limits.bytes, 1 << 30)
        if block.listpackBytes + raw >= most { return true }
        return limits.entries > 0 && block.count + block.deleted >= limits.entries
    }

    /// Starts a block with the fields of its first entry, and gives the room left in the last one back.
    private func open(_ id: StreamID, _ pairs: [Element]) {
        if blockCount > 0 { fit(blocks.count - 1) }
        var block = StreamBlock(first: id)
        var size = StreamCoding.lengthBytes(UInt64(pairs.count / 2))
        block.packedBytes = Packed.size(Int64(pairs.count / 2)) + Packed.size(0)
        for i in stride(from: 0, to: pairs.count, by: 2) {
            size += StreamCoding.size(pairs[i])
            block.packedBytes += Packed.size(pairs[i])
        }
        block.capacity = CellHeap.capacity(max(128, size))
        block.cell = heap.allocate(block.capacity)
        block.used = size
        var p = heap.pointer(block.cell)
        StreamCoding.write(UInt64(pairs.count / 2), &p)
        for i in stride(from: 0, to: pairs.count, by: 2) { StreamCoding.write(pairs[i], &p) }
        nodeBytes += block.encodedBytes
        blocks.append(block)
    }

    private func append(_ id: StreamID, _ pairs: [Element]) {
        var block = blocks[blocks.count - 1]
        nodeBytes -= block.encodedBytes
        let same = hasFields(block, pairs)
        let isFirst = block.count + block.deleted == 0
        let previous = isFirst ? block.first : block.last
        let elapsed = id.milliseconds &- previous.milliseconds
        let number = elapsed == 0 ? id.sequence &- previous.sequence : id.sequence
        var size = 1 + StreamCoding.lengthBytes(elapsed) + StreamCoding.lengthBytes(number)
        var packed = 2 + Packed.size(Int64(bitPattern: id.milliseconds &- block.first.milliseconds))
            + Packed.size(Int64(bitPattern: id.sequence &- block.first.sequence))
        if !same {
            size += StreamCoding.lengthBytes(UInt64(pairs.count / 2))
            packed += Packed.size(Int64(pairs.count / 2))
        }
        for (i, text) in pairs.enumerated() where !same || i & 1 == 1 {
            size += StreamCoding.size(text)
            packed += Packed.size(text)
        }
        packed += Packed.size(Int64(same ? pairs.count / 2 + 3 : pairs.count + 4))
        grow(&block, size)
        var p = heap.pointer(block.cell) + block.used
        p.storeBytes(of: same ? StreamBlock.sameFields : 0, as: UInt8.self)
        p += 1
        StreamCoding.write(elapsed, &p)
        StreamCoding.write(number, &p)
        if !same { StreamCoding.write(UInt64(pairs.count / 2), &p) }
        for (i, text) in pairs.enumerated() where !same || i & 1 == 1 { StreamCoding.write(text, &p) }
        block.used += size
        block.packedBytes += packed
        block.count += 1
        block.last = id
        nodeBytes += block.encodedBytes
        blocks[blocks.count - 1] = block
    }

    private func hasFields(_ block: StreamBlock, _ pairs: [Element]) -> Bool {
        var p = UnsafeRawPointer(heap.pointer(block.cell))
        guard Int(StreamCoding.read(&p)) == pairs.count / 2 else { return false }
        for i in stride(from: 0, to: pairs.count, by: 2) {
            if !StreamCoding.readText(&p).equals(pairs[i]) { return false }
        }
        return true
    }

    private func grow(_ block: inout StreamBlock, _ more: Int) {
        if block.used + more <= block.capacity { return }
        move(&block, capacity: max(block.used + more, min(2 * block.capacity, block.used + more + 1024)))
    }

    private func move(_ block: inout StreamBlock, capacity: Int) {
        let size = CellHeap.capacity(capacity), cell = heap.allocate(size)
        heap.pointer(cell).copyMemory(from: heap.pointer(block.cell), byteCount: block.used)
        heap.free(block.cell, block.capacity)
        block.cell = cell
        block.capacity = size
    }

    private func fit(_ i: Int) {
        let used = blocks[i].used
        if CellHeap.capacity(used) < blocks[i].capacity { move(&blocks[i], capacity: used) }
    }

    /// Puts a block of an RDB encoding behind the others; false if it makes no sense. What is deleted in
    /// it is left out.
    private func restore(_ id: StreamID, _ list: Listpack) -> Bool {
        var at = Listpack.headerSize
        func next() -> Element? {
            if list.isEnd(at) { return nil }
            let (element, size) = list.read(at)
            at += size
            return element
        }
        func number() -> Int? { next()?.integer.flatMap { Int(exactly: $0) } }
        guard let count = number(), let deleted = number(), let fieldCount = number(), count >= 0,
            deleted >= 0, fieldCount >= 0, fieldCount <= list.bytes.count
        else { return false }
        var fields: [Element] = []
        for _ in 0..<fieldCount {
            guard let field = next() else { return false }
            fields.append(field)
        }
        guard number() == 0, blockCount == 0 || id > lastID else { return false }
        var isOpen = false, seen = 0
        lastID = id
        while let flags = number() {
            guard let elapsed = number(), let sequence = number() else { return false }
            let entryID = StreamID(
                id.milliseconds &+ UInt64(bitPattern: Int64(elapsed)),
                id.sequence &+ UInt64(bitPattern: Int64(sequence)))
            var pairs: [Element] = []
            let isSame = flags & 2 != 0
            guard let n = isSame ? fieldCount : number(), n >= 0, n <= list.bytes.count else { return false }
            for i in 0..<n {
                guard let field = isSame ? fields[i] : next(), let value = next() else { return false }
                pairs += [field, value]
            }
            guard number() != nil, seen == 0 || entryID > lastID, entryID >= id else { return false }
            seen += 1
            lastID = entryID
            if flags & 1 != 0 { continue }
            if !isOpen { open(id, fields.flatMap { [$0, $0] }) }
            isOpen = true
            append(entryID, pairs)
            length += 1
        }
        return seen == count + deleted
    }

    override func decode(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0, !reader.failed {
            let key = reader.string()
            guard key.count == 16 else { break }
            let id = StreamID(key: key), bytes = reader.string()
            if reader.failed || Listpack.check(bytes) == nil || !restore(id, Listpack(bytes)) { break }
            left -= 1
            budget -= 100
        }
        if left > 0 {
            if budget > 0 { reader.fail() }
            return !reader.failed
        }
        decodeFacts(&reader)
        return false
    }

    private func decodeFacts(_ reader: inout RDBReader) {
        func id() -> StreamID { StreamID(reader.unsigned(), reader.unsigned()) }
        let count = reader.unsigned()
        let last = id()
        let first = encodingVersion == 1 ? firstID : id()
        maxDeletedID = encodingVersion == 1 ? .zero : id()
        entriesAdded = encodingVersion == 1 ? count : reader.unsigned()
        if count != UInt64(length) || last < lastID || first > last { reader.fail() }
        lastID = last
        for _ in 0..<reader.count(least: 5) {
            let name = reader.string().array
            let given = id()
            let read = encodingVersion == 1 ? distance(to: given) : Int64(bitPattern: reader.unsigned())
            let group = name.withView { addGroup($0, lastID: given, entriesRead: read == -1 ? nil : read) }
            guard let group, !reader.failed else { return reader.fail() }
            group.decode(&reader, hasActiveTimes: encodingVersion == 3)
        }
    }

    // MARK: Looking

    /// Number of the first block that may hold `id` or later ones.
    private func block(from id: StreamID) -> Int {
        var low = head, high = blocks.count
        while low < high {
            let middle = (low + high) >> 1
            if blocks[middle].last < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Visits the entries of a block that are not deleted; `offset`: of its flags. Stops on false.
    private func forEach(in i: Int, _ visit: (StreamEntry, _ offset: Int) -> Bool) -> Bool {
        let block = blocks[i], base = UnsafeRawPointer(heap.pointer(block.cell))
        var p = base
        let fieldCount = Int(StreamCoding.read(&p)), fields = p
        for _ in 0..<fieldCount { _ = StreamCoding.readText(&p) }
        var previous = block.first
        let end = base + block.used
        while p < end {
            let offset = p - base
            let entry = StreamEntry(&p, after: previous, fields: fields, fieldCount: fieldCount)
            previous = entry.id
            if !entry.isDeleted, !visit(entry, offset) { return false }
        }
        return true
    }

    /// Visits entries from `first` to `last`, both included, forward or backward. Stops on false.
    public func forEach(
        from first: StreamID, to last: StreamID, backward: Bool = false, _ visit: (StreamEntry) -> Bool
    ) {
        if first > last || length == 0 { return }
        guard backward else {
            for i in block(from: first)..<blocks.count {
                if blocks[i].first > last { return }
                let goesOn = forEach(in: i) { entry, _ in
                    if entry.id < first { return true }
                    return entry.id <= last && visit(entry)
                }
                if !goesOn { return }
            }
            return
        }
        var i = min(block(from: last), blocks.count - 1)
        while i >= head {
            if blocks[i].last < first { return }
            var found: [StreamEntry] = []
            _ = forEach(in: i) { entry, _ in
                if entry.id >= first, entry.id <= last { found.append(entry) }
                return entry.id <= last
            }
            for entry in found.reversed() where !visit(entry) { return }
            i -= 1
        }
    }

    public func entry(_ id: StreamID) -> StreamEntry? {
        var found: StreamEntry?
        forEach(from: id, to: id) {
            found = $0
            return false
        }
        return found
    }

    public var firstEntry: StreamEntry? { edge(backward: false) }
    public var lastEntry: StreamEntry? { edge(backward: true) }

    private func edge(backward: Bool) -> StreamEntry? {
        var found: StreamEntry?
        forEach(from: .zero, to: .max, backward: backward) {
            found = $0
            return false
        }
        return found
    }

    /// ID of the first entry, 0-0 if there is none.
    public var firstID: StreamID { firstEntry?.id ?? .zero }

    // MARK: Removing

    /// Deletes an entry; false if it is not there.
    public func delete(_ id: StreamID) -> Bool {
        let i = block(from: id)
        guard i < blocks.count, blocks[i].first <= id else { return false }
        var place: Int?
        _ = forEach(in: i) { entry, offset in
            if entry.id == id { place = offset }
            return entry.id < id
        }
        guard let place else { return false }
        mark(i, place)
        if id > maxDeletedID { maxDeletedID = id }
        if blocks[i].count == 0 { remove(i) }
        return true
    }

    private func mark(_ i: Int, _ offset: Int) {
        nodeBytes -= blocks[i].encodedBytes
        let flags = heap.pointer(blocks[i].cell) + offset
        flags.storeBytes(of: flags.load(as: UInt8.self) | StreamBlock.isDeleted, as: UInt8.self)
        blocks[i].count -= 1
        blocks[i].deleted += 1
        nodeBytes += blocks[i].encodedBytes
        length -= 1
    }

    private func remove(_ i: Int) {
        heap.free(blocks[i].cell, blocks[i].capacity)
        nodeBytes -= blocks[i].encodedBytes
        length -= blocks[i].count
        guard i == head else {
            blocks.remove(at: i)
            return
        }
        head += 1
        if head == blocks.count {
            blocks.removeAll()
            head = 0
        } else if head > 64, head > blocks.count / 2 {
            blocks.removeFirst(head)
            head = 0
        }
    }

    /// Which entries XTRIM leaves.
    public enum Trim: Sendable { case maxLength(Int), minID(StreamID) }

    /// Removes entries from the beginning; whole blocks only when `approximate`, and no more than about
    /// `limit` then (0: any number). Returns how many. Source: Redis 7.0 streamTrim.
    public func trim(_ rule: Trim, approximate: Bool, limit: Int) -> Int {
        var removed = 0
        while blockCount > 0 {
            if case .maxLength(let most) = rule, length <= most { break }
            let block = blocks[head]
            if limit > 0, removed + block.count > limit { break }
            let isWhole: Bool =
                switch rule {
                case .maxLength(let most): length - block.count >= most
                case .minID(let id): block.last < id
                }
            if isWhole {
                removed += block.count
                remove(head)
                continue
            }
            if !approximate { removed += trimInside(rule) }
            break
        }
        return removed
    }

    private func trimInside(_ rule: Trim) -> Int {
        var places: [Int] = []
        var left = length
        _ = forEach(in: head) { entry, offset in
            switch rule {
            case .maxLength(let most): if left <= most { return false }
            case .minID(let id): if entry.id >= id { return false }
            }
            places.append(offset)
            left -= 1
            return true
        }
        for place in places { mark(head, place) }
        return places.count
    }

    // MARK: Encoding

    override var rdbType: UInt8 { RDBType.stream2 }

    override var encodedBytes: Int {
        let facts = [
            UInt64(length), lastID.milliseconds, lastID.sequence, firstID.milliseconds, firstID.sequence,
            maxDeletedID.milliseconds, maxDeletedID.sequence, entriesAdded, UInt64(groups.count),
        ]
        return RDBWriter.lengthBytes(blockCount) + nodeBytes
            + facts.reduce(0) { $0 + RDBWriter.lengthBytes(unsigned: $1) }
            + groups.reduce(0) { $0 + $1.encodedBytes }
    }

    /// Blocks come first, then the rest at once: a group with many pending entries is not cut.
    override func encode(_ writer: inout RDBWriter, _ cursor: inout UInt64, budget: Int) -> Bool {
        if cursor == 0 { writer.length(blockCount) }
        var i = head + Int(cursor), left = budget
        while i < blocks.count, left > 0 {
            write(i, &writer)
            left -= blocks[i].count
            i += 1
        }
        cursor = UInt64(i - head)
        if i < blocks.count { return true }
        for fact in [
            UInt64(length), lastID.milliseconds, lastID.sequence, firstID.milliseconds, firstID.sequence,
            maxDeletedID.milliseconds, maxDeletedID.sequence, entriesAdded, UInt64(groups.count),
        ] { writer.length(unsigned: fact) }
        for group in groups { group.encode(&writer) }
        return false
    }

    private func write(_ i: Int, _ writer: inout RDBWriter) {
        let block = blocks[i], bytes = block.listpackBytes
        writer.length(16)
        block.first.withKey { writer.raw($0) }
        writer.length(bytes)
        let start = writer.at
        var p = start + Listpack.headerSize, elements = 0
        func number(_ value: Int64) {
            p += Packed.write(value, p)
            elements += 1
        }
        func text(_ element: Element) {
            element.withBytes { p += Packed.write($0, p) }
            elements += 1
        }
        var q = UnsafeRawPointer(heap.pointer(block.cell))
        let end = q + block.used
        let fieldCount = Int(StreamCoding.read(&q)), fields = q
        number(Int64(block.count))
        number(Int64(block.deleted))
        number(Int64(fieldCount))
        for _ in 0..<fieldCount { text(StreamCoding.readText(&q)) }
        number(0)
        var previous = block.first
        while q < end {
            let entry = StreamEntry(&q, after: previous, fields: fields, fieldCount: fieldCount)
            previous = entry.id
            number((entry.isDeleted ? 1 : 0) | (entry.hasBlocksFields ? 2 : 0))
            number(Int64(bitPattern: entry.id.milliseconds &- block.first.milliseconds))
            number(Int64(bitPattern: entry.id.sequence &- block.first.sequence))
            if !entry.hasBlocksFields { number(Int64(entry.count)) }
            entry.forEach { field, value in
                if !entry.hasBlocksFields { text(field) }
                text(value)
            }
            number(Int64(entry.hasBlocksFields ? entry.count + 3 : 2 * entry.count + 4))
        }
        Listpack.seal(start, bytes: bytes, count: elements)
        precondition(p - start == bytes - 1, "a block's listpack is not as long as it said")
        writer.at += bytes
    }
}

extension StreamBlock {
    /// Bytes of the block in the RDB encoding: its ID and its listpack, each behind a length.
    var encodedBytes: Int { 17 + RDBWriter.stringBytes(listpackBytes) }
}

extension RDBWriter {
    static func lengthBytes(unsigned n: UInt64) -> Int { n > 0xffff_ffff ? 9 : lengthBytes(Int(n)) }

    mutating func length(unsigned n: UInt64) {
        guard n > 0xffff_ffff else { return length(Int(n)) }
        byte(0x81)
        int64(Int64(bitPattern: n.bigEndian))
    }
}
