import Primitives

/// Turns an RDB encoding of a collection, large or small, into a structure; large ones a slice at a time.
final class StructureDecoder {
    private var reader: RDBReader
    private let type: UInt8
    private var left = 0
    private var base: Int64 = 0
    let structure: Structure
    /// The list a small collection was read from; it lives as long as the bytes given.
    private(set) var listpack: ByteView?

    enum Progress { case more, done, failed }

    /// `bytes` must live until the decoder is done with. Nil for a type that is no collection's.
    init?(rdbType: UInt8, _ bytes: ByteView, _ heap: CellHeap, _ hashing: Hash64) {
        var reader = RDBReader(bytes)
        type = rdbType
        switch rdbType {
        case RDBType.set, RDBType.setIntset, RDBType.setListpack:
            structure = TableStructure(heap, hashing, isSet: true)
        case RDBType.hash, RDBType.hashListpack: structure = TableStructure(heap, hashing, isSet: false)
        case RDBType.hashMetadata:
            structure = TableStructure(heap, hashing, isSet: false)
            base = reader.int64()
        case RDBType.sortedSet, RDBType.sortedSetText, RDBType.sortedSetListpack:
            structure = SortedStructure(heap, hashing)
        case RDBType.stream1, RDBType.stream2, RDBType.stream3:
            let stream = Stream(heap)
            stream.encodingVersion = rdbType == RDBType.stream1 ? 1 : rdbType == RDBType.stream2 ? 2 : 3
            structure = stream
        case RDBType.list, RDBType.listQuicklist: structure = ListStructure(heap)
        default: return nil
        }
        if !StructureDecoder.isPacked(rdbType) { left = reader.count(least: 1) }
        self.reader = reader
    }

    /// The whole collection is one string: a listpack or an intset.
    private static func isPacked(_ type: UInt8) -> Bool {
        [RDBType.setIntset, RDBType.setListpack, RDBType.hashListpack, RDBType.sortedSetListpack]
            .contains(type)
    }

    /// Bytes not yet read.
    var remaining: Int { reader.remaining }

    func step(budget: Int) -> Progress {
        if StructureDecoder.isPacked(type) { return unpack() ? .done : .failed }
        var hasMore = false
        switch (type, structure) {
        case (RDBType.hashMetadata, let table as TableStructure):
            hasMore = table.decodeExpiring(&reader, &left, base: base, budget: budget)
        case (RDBType.list, let list as ListStructure):
            while left > 0, !reader.failed {
                list.list.pushBack(reader.string())
                left -= 1
            }
        case (RDBType.sortedSetText, let sorted as SortedStructure): decodeTextScores(sorted)
        default: hasMore = structure.decode(&reader, &left, budget: budget)
        }
        if reader.failed { return .failed }
        return hasMore ? .more : .done
    }

    /// Scores as text: what Redis wrote before version 4.
    private func decodeTextScores(_ sorted: SortedStructure) {
        while left > 0, !reader.failed {
            let member = reader.string().array
            let length = Int(reader.byte())
            let score: Double? =
                switch length {
                case 255: -.infinity
                case 254: .infinity
                case 253: nil
                default: Decimal.double(reader.bytes(length))
                }
            guard let score, !score.isNaN, member.withView({ sorted.set($0, score) }) else {
                return reader.fail()
            }
            left -= 1
        }
    }

    private func unpack() -> Bool {
        let bytes = reader.string()
        if reader.failed { return false }
        if type == RDBType.setIntset {
            guard Intset.check(bytes), let table = structure as? TableStructure else { return false }
            let set = Intset(bytes)
            for i in 0..<set.count { Element.integer(set.value(i)).withBytes { _ = table.set($0, .empty) } }
            return true
        }
        guard let count = Listpack.check(bytes) else { return false }
        let list = Listpack(bytes).flat
        if type == RDBType.setListpack, let table = structure as? TableStructure {
            list.forEach { element, _, _ in element.withBytes { table.set($0, .empty) } }
            return table.count == count
        }
        guard count % 2 == 0 else { return false }
        var first: Element?, isSound = true
        list.forEach { element, _, _ in
            guard let member = first else {
                first = element
                return true
            }
            first = nil
            isSound = member.withBytes { add($0, element) }
            return isSound
        }
        if type == RDBType.hashListpack { listpack = list.bytes }
        return isSound
    }

    /// A pair of a listpack: a field and its value, or a member and its score.
    private func add(_ key: ByteView, _ second: Element) -> Bool {
        if let table = structure as? TableStructure { return second.withBytes { table.set(key, $0) } }
        guard let sorted = structure as? SortedStructure else { return false }
        let score = second.withBytes { Decimal.double($0) }
        guard let score, !score.isNaN else { return false }
        return sorted.set(key, score)
    }
}
