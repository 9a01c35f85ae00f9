import Primitives

/// A value as it stands in an RDB file or a DUMP payload: its type byte and its encoding, whose length is
/// known before it is written.
struct RDBValue {
    private enum Form {
        case integer(Int64, bytes: Int)
        case string(ByteView)
        /// One string: a listpack, or an intset.
        case listpack(FlatList)
        case packed(ByteView)
        case quicklist(FlatList)
        /// Elements as strings, so many members of them.
        case elements(FlatList, members: Int)
        /// Members and scores, the highest first.
        case scores(FlatList)
        case structure(Structure)
        /// The encoding itself.
        case encoded(ByteView)
    }

    let type: UInt8
    /// Bytes with the type byte.
    let byteCount: Int
    private let form: Form

    private init(_ type: UInt8, _ count: Int, _ form: Form) {
        self.type = type
        byteCount = count + 1
        self.form = form
    }

    /// An integer of up to 32 bits is written as one, as Redis does.
    init(string value: ByteView) {
        if value.count <= 11, let integer = Decimal.int64(value), Int32(exactly: integer) != nil {
            let bytes = Int8(exactly: integer) != nil ? 1 : Int16(exactly: integer) != nil ? 2 : 4
            self.init(RDBType.string, 1 + bytes, .integer(integer, bytes: bytes))
        } else {
            self.init(RDBType.string, RDBWriter.stringBytes(value.count), .string(value))
        }
    }

    init(structure: Structure) {
        self.init(structure.rdbType, structure.encodedBytes, .structure(structure))
    }

    /// A value as the log has it. `flags`: `Entry.recorded` of its entry or its record.
    init(type: ValueType, flags: UInt32, _ bytes: ByteView) {
        if type == .string {
            self.init(string: bytes)
        } else if flags & Entry.structured != 0 {
            self.init(RDBValue.structureType(type, flags), bytes.count, .encoded(bytes))
        } else if type == .set, flags & Entry.intset != 0 {
            self.init(RDBType.setIntset, RDBWriter.stringBytes(bytes.count), .packed(bytes))
        } else {
            self.init(list: FlatList(bytes), type, isWide: flags & Entry.wide != 0)
        }
    }

    private init(list: FlatList, _ type: ValueType, isWide: Bool) {
        switch type {
        case .list:
            self.init(
                RDBType.listQuicklist, 2 + RDBWriter.stringBytes(list.listpackBytes), .quicklist(list))
        case .set: self.init(elements: list, RDBType.set, members: list.count)
        case .hash where isWide: self.init(elements: list, RDBType.hash, members: list.count / 2)
        case .sortedSet where isWide: self.init(scores: list)
        default:
            let rdbType = type == .hash ? RDBType.hashListpack : RDBType.sortedSetListpack
            self.init(rdbType, RDBWriter.stringBytes(list.listpackBytes), .listpack(list))
        }
    }

    static func structureType(_ type: ValueType, _ flags: UInt32) -> UInt8 {
        switch type {
        case .string: RDBType.string
        case .list: RDBType.listQuicklist
        case .hash: flags & Entry.expiring != 0 ? RDBType.hashMetadata : RDBType.hash
        case .set: RDBType.set
        case .sortedSet: RDBType.sortedSet
        case .stream: RDBType.stream2
        }
    }

    private init(elements list: FlatList, _ type: UInt8, members: Int) {
        var count = RDBWriter.lengthBytes(members)
        list.forEach { element, _, _ in
            count += RDBWriter.stringBytes(element.count)
            return true
        }
        self.init(type, count, .elements(list, members: members))
    }

    private init(scores list: FlatList) {
        let members = list.count / 2
        var count = RDBWriter.lengthBytes(members) + 8 * members, isMember = true
        list.forEach { element, _, _ in
            if isMember { count += RDBWriter.stringBytes(element.count) }
            isMember.toggle()
            return true
        }
        self.init(RDBType.sortedSet, count, .scores(list))
    }

    /// Writes the type byte and the encoding: `byteCount` bytes.
    func write(_ writer: inout RDBWriter) {
        writer.byte(type)
        writeBody(&writer)
    }

    /// Writes the encoding alone.
    func writeBody(_ writer: inout RDBWriter) {
        let start = writer.at
        switch form {
        case .integer(let value, let bytes): RDBValue.write(integer: value, bytes, &writer)
        case .string(let value), .packed(let value): writer.string(value)
        case .encoded(let bytes): writer.raw(bytes)
        case .quicklist(let list):
            writer.length(1)
            writer.length(2)
            RDBValue.write(listpack: list, &writer)
        case .listpack(let list): RDBValue.write(listpack: list, &writer)
        case .elements(let list, let members): RDBValue.write(elements: list, members, &writer)
        case .scores(let list): RDBValue.write(scores: list, &writer)
        case .structure(let structure):
            var cursor: UInt64 = 0
            while structure.encode(&writer, &cursor, budget: .max / 2) {}
        }
        precondition(writer.at - start == byteCount - 1, "a value's encoding is not as long as it said")
    }

    private static func write(integer: Int64, _ bytes: Int, _ writer: inout RDBWriter) {
        writer.byte(bytes == 1 ? 0xc0 : bytes == 2 ? 0xc1 : 0xc2)
        for i in 0..<bytes { writer.byte(UInt8(truncatingIfNeeded: integer >> (8 * Int64(i)))) }
    }

    private static func write(listpack list: FlatList, _ writer: inout RDBWriter) {
        writer.length(list.listpackBytes)
        list.writeListpack(&writer)
    }

    private static func write(elements list: FlatList, _ members: Int, _ writer: inout RDBWriter) {
        writer.length(members)
        var out = writer
        list.forEach { element, _, _ in
            element.withBytes { out.string($0) }
            return true
        }
        writer = out
    }

    private static func write(scores list: FlatList, _ writer: inout RDBWriter) {
        writer.length(list.count / 2)
        var out = writer, at = list.endOffset
        while at > FlatList.headerSize {
            let scoreAt = list.previous(at), memberAt = list.previous(scoreAt)
            list.read(memberAt).element.withBytes { out.string($0) }
            out.double(SortedSetValue.score(list.read(scoreAt).element))
            at = memberAt
        }
        writer = out
    }
}
