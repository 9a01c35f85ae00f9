import Primitives

/// Turns an RDB encoding of a collection, large or small, into a structure; large ones a slice at a time.
final class StructureDecoder {
    private var reader: RDBReader
    private let type: UInt8
    private var left = 0
    private var base: Int64 = 0
    let structure: Structure
    /// A small hash as a `FlatList`, in the order it came in.
    private(set) var flat: [UInt8]?

    enum Progress { case more, done, failed }

    /// `bytes` must live until the decoder is done with. Nil for a type that is no collection's.
    init?(rdbType: UInt8, _ bytes: ByteView, _ heap: CellHeap, _ hashing: Hash64) {
        var reader = RDBReader(bytes)
        type = rdbType
        switch rdbType {
        case RDBType.set, RDBType.setIntset, RDBType.setListpack:
            structure = TableStructure(heap, hashing, isSet: true)
        case RDBType.hash, RDBType.hashListpack, RDBType.hashZiplist, RDBType.hashZipmap,
            RDBType.hashListpackExpiringEarly:
            structure = TableStructure(heap, hashing, isSet: false)
        case RDBType.hashMetadata, RDBType.hashListpackExpiring:
            structure = TableStructure(heap, hashing, isSet: false)
            base = reader.int64()
        case RDBType.hashMetadataEarly:
            structure = TableStructure(heap, hashing, isSet: false)
            // An expiry is as it is: only 0 means none.
            base = 1
        case RDBType.sortedSet, RDBType.sortedSetText, RDBType.sortedSetListpack, RDBType.sortedSetZiplist:
            structure = SortedStructure(heap, hashing)
        case RDBType.stream1, RDBType.stream2, RDBType.stream3:
            let stream = Stream(heap)
            stream.encodingVersion = rdbType == RDBType.stream1 ? 1 : rdbType == RDBType.stream2 ? 2 : 3
            structure = stream
        case RDBType.list, RDBType.listQuicklist, RDBType.listZiplist, RDBType.listZiplists:
            structure = ListStructure(heap)
        default: return nil
        }
        if !StructureDecoder.isPacked(rdbType) { left = reader.count(least: 1) }
        self.reader = reader
    }

    /// The whole collection is one string: a listpack, ziplist, zipmap or intset.
    private static func isPacked(_ type: UInt8) -> Bool {
        switch type {
        case RDBType.setIntset, RDBType.hashZipmap: true
        default: isList(type) || type == RDBType.listZiplist || type == RDBType.setListpack
        }
    }

    private static func isList(_ type: UInt8) -> Bool {
        switch type {
        case RDBType.hashListpack, RDBType.sortedSetListpack, RDBType.hashZiplist, RDBType.sortedSetZiplist,
            RDBType.hashListpackExpiring, RDBType.hashListpackExpiringEarly:
            true
        default: false
        }
    }

    /// A hash or sorted set that came as a listpack or ziplist. Redis 7.0 looks at the number of its members
    /// only, not at their length, when it decides how to keep it.
    var cameAsList: Bool { StructureDecoder.isList(type) }

    /// Bytes not yet read.
    var remaining: Int { reader.remaining }

    func step(budget: Int) -> Progress {
        if StructureDecoder.isPacked(type) { return unpack() ? .done : .failed }
        var hasMore = false
        switch (type, structure) {
        case (RDBType.hashMetadata, let table as TableStructure),
            (RDBType.hashMetadataEarly, let table as TableStructure):
            hasMore = table.decodeExpiring(&reader, &left, base: base, budget: budget)
        case (RDBType.list, let list as ListStructure):
            hasMore = list.decodeStrings(&reader, &left, budget: budget)
        case (RDBType.listZiplists, let list as ListStructure):
            hasMore = list.decodeZiplists(&reader, &left, budget: budget)
        case (RDBType.sortedSetText, let sorted as SortedStructure):
            hasMore = decodeTextScores(sorted, budget: budget)
        default: hasMore = structure.decode(&reader, &left, budget: budget)
        }
        if reader.failed { return .failed }
        return hasMore ? .more : .done
    }

    /// Scores as text: what Redis wrote before version 4.
    private func decodeTextScores(_ sorted: SortedStructure, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0 {
            let member = reader.string().array
            let length = Int(reader.byte())
            let score: Double? =
                switch length {
                case 255: -.infinity
                case 254: .infinity
                case 253: nil
                default: Decimal.double(reader.bytes(length))
                }
            guard !reader.failed, let score, !score.isNaN, member.withView({ sorted.set($0, score) }) else {
                reader.fail()
                return false
            }
            left -= 1
            budget -= 1
        }
        return left > 0
    }

    // MARK: Packed collections

    private func unpack() -> Bool {
        let bytes = reader.string()
        if reader.failed { return false }
        switch type {
        case RDBType.setIntset:
            guard Intset.check(bytes), let table = structure as? TableStructure else { return false }
            let set = Intset(bytes)
            for i in 0..<set.count { Element.integer(set.value(i)).withBytes { _ = table.set($0, .empty) } }
            return true
        case RDBType.hashZipmap:
            guard let count = Zipmap.check(bytes) else { return false }
            return add(2 * count) { visit in
                Zipmap(bytes).forEach { visit(.bytes($0)) && visit(.bytes($1)) }
            }
        case RDBType.listZiplist, RDBType.hashZiplist, RDBType.sortedSetZiplist:
            guard let count = Ziplist.check(bytes) else { return false }
            return add(count) { Ziplist(bytes).forEach($0) }
        default:
            guard let count = Listpack.check(bytes) else { return false }
            return add(count) { visit in Listpack(bytes).flat.forEach { element, _, _ in visit(element) } }
        }
    }

    /// Adds what `forEach` visits: `count` elements.
    private func add(_ count: Int, _ forEach: ((Element) -> Bool) -> Void) -> Bool {
        if let list = structure as? ListStructure {
            forEach { element in
                element.withBytes { list.list.pushBack($0) }
                return true
            }
            return true
        }
        if type == RDBType.setListpack, let table = structure as? TableStructure {
            forEach { element in element.withBytes { table.set($0, .empty) } }
            return table.count == count
        }
        let hasExpiries = type == RDBType.hashListpackExpiring || type == RDBType.hashListpackExpiringEarly
        let width = hasExpiries ? 3 : 2
        guard count % width == 0 else { return false }
        var key = Element.integer(0), second = Element.integer(0), place = 0, isSound = true
        forEach { element in
            if place == 0 { key = element }
            if place == 1 { second = element }
            place += 1
            if place < width { return true }
            place = 0
            isSound = hasExpiries ? add(key, second, expiry: element) : add(key, second)
            return isSound
        }
        if isSound, !hasExpiries, structure is TableStructure { flat = flattened(count, forEach) }
        return isSound
    }

    /// A field and its value, or a member and its score. False if it is there already, or makes no sense.
    private func add(_ key: Element, _ second: Element) -> Bool {
        key.withBytes { key in
            if let table = structure as? TableStructure { return second.withBytes { table.set(key, $0) } }
            guard let sorted = structure as? SortedStructure,
                let score = second.withBytes({ Decimal.double($0) }), !score.isNaN
            else { return false }
            return sorted.set(key, score)
        }
    }

    private func add(_ key: Element, _ value: Element, expiry: Element) -> Bool {
        guard let table = structure as? TableStructure, let time = expiry.integer, time >= 0,
            time < TableStructure.expiryLimit
        else { return false }
        return key.withBytes { key in
            value.withBytes { table.set(key, $0, expiry: time == 0 ? nil : time) }
        }
    }

    /// The elements as a `FlatList`, nil if it is too long for one.
    private func flattened(_ count: Int, _ forEach: ((Element) -> Bool) -> Void) -> [UInt8]? {
        var size = FlatList.headerSize
        forEach { element in
            size += element.withBytes { Packed.size($0) }
            return size <= StagedKeys.flatBytesMax
        }
        guard size <= StagedKeys.flatBytesMax else { return nil }
        return [UInt8](unsafeUninitializedCapacity: size) { buffer, used in
            let base = UnsafeMutableRawPointer(buffer.baseAddress!)
            FlatList.seal(base, count: count)
            var at = base + FlatList.headerSize
            forEach { element in
                at += element.withBytes { Packed.write($0, at) }
                return true
            }
            used = at - base
        }
    }
}
