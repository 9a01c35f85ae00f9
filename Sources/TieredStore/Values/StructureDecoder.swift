import Primitives

/// Turns an RDB encoding into a structure, a slice at a time.
final class StructureDecoder {
    private var reader: RDBReader
    private let type: UInt8
    private var left: Int
    private var base: Int64 = 0
    let structure: Structure

    enum Progress { case more, done, failed }

    /// `bytes` must live until the decoder is done with. Nil for a type that is no structure's.
    init?(rdbType: UInt8, _ bytes: ByteView, _ heap: CellHeap, _ hashing: Hash64) {
        var reader = RDBReader(bytes)
        type = rdbType
        switch rdbType {
        case RDBType.set: structure = TableStructure(heap, hashing, isSet: true)
        case RDBType.hash: structure = TableStructure(heap, hashing, isSet: false)
        case RDBType.hashMetadata:
            structure = TableStructure(heap, hashing, isSet: false)
            base = reader.int64()
        case RDBType.sortedSet: structure = SortedStructure(heap, hashing)
        case RDBType.stream2: structure = Stream(heap)
        case RDBType.listQuicklist: structure = ListStructure(heap)
        default: return nil
        }
        // A stream of no entries has no blocks, and is one all the same.
        left = reader.count(least: 1)
        self.reader = reader
    }

    /// Bytes not yet read.
    var remaining: Int { reader.remaining }

    func step(budget: Int) -> Progress {
        let hasMore: Bool
        if type == RDBType.hashMetadata, let table = structure as? TableStructure {
            hasMore = table.decodeExpiring(&reader, &left, base: base, budget: budget)
        } else {
            hasMore = structure.decode(&reader, &left, budget: budget)
        }
        if reader.failed { return .failed }
        return hasMore ? .more : .done
    }
}
