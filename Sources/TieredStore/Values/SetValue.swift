import Primitives

/// The door to a set. Small ones are an intset, or a listpack of their members in the order of their
/// coming. Views are lent until the set is changed.
public struct SetValue {
    let keys: StagedKeys
    let i: Int

    init(_ keys: StagedKeys, _ i: Int) {
        self.keys = keys
        self.i = i
    }
}

extension StagedKeys {
    /// The set at key `i`, empty if the key is absent. Counts as an access.
    /// Errors: wrongType, unreadable.
    public func set(_ i: Int) throws(CommandError) -> SetValue {
        _ = try stored(i, .set)
        return SetValue(self, i)
    }
}

extension SetValue {
    public var exists: Bool { keys.exists(i) }

    private var isIntset: Bool { keys.flag(i, Entry.intset) }

    /// What the key holds now.
    private func with<R>(
        absent: @autoclosure () -> R, integers: (Intset) -> R, list: (FlatList) -> R,
        table: (TableStructure) -> R
    ) throws(CommandError) -> R {
        switch try keys.current(i) {
        case .absent: return absent()
        case .flat(let bytes): return isIntset ? integers(Intset(bytes)) : list(FlatList(bytes))
        case .structure(let structure): return structure.with(TableStructure.self, table)
        }
    }

    // MARK: Reading

    public func count() throws(CommandError) -> Int {
        try with(absent: 0, integers: { $0.count }, list: { $0.count }, table: { $0.count })
    }

    public func contains(_ member: ByteView) throws(CommandError) -> Bool {
        try with(
            absent: false,
            integers: { set in Decimal.int64(member).map { set.find($0).found } ?? false },
            list: { $0.find(member, step: 1) != nil },
            table: { $0.find(member) != nil })
    }

    /// Visits members; stops when `visit` returns false.
    public func forEach(_ visit: (Element) -> Bool) throws(CommandError) {
        try with(
            absent: (),
            integers: { set in
                for n in 0..<set.count { if !visit(.integer(set.value(n))) { return } }
            },
            list: { $0.forEach { element, _, _ in visit(element) } },
            table: { structure in
                structure.table.forEach { visit(.bytes(structure.table.member($0).key)) }
            })
    }

    /// SSCAN: as `HashValue.scan`.
    public func scan(
        _ cursor: UInt64, atLeast limit: Int, _ visit: (Element) -> Void
    ) throws(CommandError) -> UInt64 {
        if case .structure(let structure) = try keys.current(i) {
            let table = structure.with(TableStructure.self) { $0.table }
            return table.walk(from: cursor, atLeast: limit) { visit(.bytes(table.member($0).key)) }
        }
        try forEach {
            visit($0)
            return true
        }
        return 0
    }

    /// A member, each as likely as any other. The set must not be empty.
    public func random() throws(CommandError) -> Element {
        let worker = keys.worker
        return try with(
            absent: .bytes(.empty),
            integers: { .integer($0.value(Int(worker.random.below(UInt64($0.count))))) },
            list: { $0.read($0.offset(of: Int(worker.random.below(UInt64($0.count))))!).element },
            table: { .bytes($0.table.member($0.table.random(&worker.random)).key) })
    }

    /// Whether all members are integers and few: what OBJECT ENCODING calls intset.
    public var isCompact: Bool { isIntset }

    // MARK: Changing

    /// Adds a member; false if it was there. Creates the set.
    @discardableResult
    public func add(_ member: ByteView) throws(CommandError) -> Bool {
        switch try keys.current(i) {
        case .absent:
            create(member)
            return true
        case .flat(let bytes):
            return isIntset ? try add(member, Intset(bytes)) : try add(member, FlatList(bytes))
        case .structure(let structure):
            if structure.with(TableStructure.self, { $0.find(member) != nil }) { return false }
            return try keys.beginStructureChange(i).with(TableStructure.self) { $0.set(member, .empty) }
        }
    }

    private func create(_ member: ByteView) {
        if let integer = Decimal.int64(member), keys.limits.setIntsetEntries > 0 {
            let width = Intset.width(integer)
            let p = keys.putFlat(i, .set, count: Intset.headerSize + width, flags: Entry.intset)
            Intset.seal(p, width: width, count: 1)
            Intset.write(integer, width: width, p + Intset.headerSize)
            return
        }
        let count = FlatList.emptySize + Packed.size(member)
        if count > StagedKeys.flatBytesMax {
            let table = makeTable()
            table.set(member, .empty)
            return keys.putStructure(i, .set, table)
        }
        let p = keys.putFlat(i, .set, count: count)
        Packed.write(member, p + FlatList.headerSize)
        FlatList.seal(p, count: 1)
    }

    private func add(_ member: ByteView, _ set: Intset) throws(CommandError) -> Bool {
        guard let integer = Decimal.int64(member) else {
            try leaveIntset()
            return try add(member)
        }
        let (place, found) = set.find(integer)
        if found { return false }
        let old = set.width, width = max(old, Intset.width(integer)), count = set.count + 1
        let bytes = Intset.headerSize + count * width
        if bytes > StagedKeys.flatBytesMax || count > keys.limits.setIntsetEntries {
            try leaveIntset()
            return try add(member)
        }
        if width == old {
            let at = Intset.headerSize + place * width
            let p = try keys.splice(i, at: at, removing: 0, inserting: width)
            Intset.write(integer, width: width, p + at)
            Intset.seal(p, width: width, count: count)
            return true
        }
        let values = (0..<set.count).map { set.value($0) }
        let p = keys.putFlat(i, .set, count: Intset.headerSize + count * width, flags: Entry.intset)
        Intset.seal(p, width: width, count: count)
        for n in 0..<count {
            let value = n < place ? values[n] : n == place ? integer : values[n - 1]
            Intset.write(value, width: width, p + Intset.headerSize + n * width)
        }
        return true
    }

    /// The set is no intset any more: its members as a listpack, or as a table if they are many.
    private func leaveIntset() throws(CommandError) {
        if try count() >= StagedKeys.flatMembersMax { return try makeStructured() }
        var members: [Int64] = []
        try forEach {
            if case .integer(let value) = $0 { members.append(value) }
            return true
        }
        let count = members.reduce(FlatList.emptySize) { $0 + Packed.size($1) }
        let p = keys.putFlat(i, .set, count: count)
        var at = FlatList.headerSize
        for value in members { at += Packed.write(value, p + at) }
        FlatList.seal(p, count: members.count)
    }

    private func add(_ member: ByteView, _ list: FlatList) throws(CommandError) -> Bool {
        if list.find(member, step: 1) != nil { return false }
        let count = list.count, size = Packed.size(member), bytes = list.bytes.count + size
        if bytes > StagedKeys.flatBytesMax || count >= StagedKeys.flatMembersMax {
            try makeStructured()
            return try add(member)
        }
        let end = list.endOffset
        let p = try keys.splice(i, at: end, removing: 0, inserting: size)
        Packed.write(member, p + end)
        FlatList.seal(p, count: count + 1)
        return true
    }

    private func makeTable() -> TableStructure {
        TableStructure(keys.makeHeap(), keys.worker.hashing, isSet: true)
    }

    private func makeStructured() throws(CommandError) {
        let table = makeTable()
        try forEach { element in
            _ = element.withBytes { table.set($0, .empty) }
            return true
        }
        keys.putStructure(i, .set, table)
    }

    /// Takes a member out; the key with the last one. False if it is not there.
    @discardableResult
    public func remove(_ member: ByteView) throws(CommandError) -> Bool {
        switch try keys.current(i) {
        case .absent: return false
        case .flat(let bytes):
            return isIntset ? try remove(member, Intset(bytes)) : try remove(member, FlatList(bytes))
        case .structure(let structure):
            return try keys.remove(member, from: structure, i)
        }
    }

    private func remove(_ member: ByteView, _ set: Intset) throws(CommandError) -> Bool {
        guard let integer = Decimal.int64(member) else { return false }
        let (place, found) = set.find(integer), width = set.width, count = set.count - 1
        if !found { return false }
        if count == 0 { return keys.delete(i) }
        let p = try keys.splice(i, at: Intset.headerSize + place * width, removing: width, inserting: 0)
        Intset.seal(p, width: width, count: count)
        return true
    }

    private func remove(_ member: ByteView, _ list: FlatList) throws(CommandError) -> Bool {
        guard let at = list.find(member, step: 1) else { return false }
        let count = list.count - 1, size = list.read(at).size
        if count == 0 { return keys.delete(i) }
        let p = try keys.splice(i, at: at, removing: size, inserting: 0)
        FlatList.seal(p, count: count)
        return true
    }
}
