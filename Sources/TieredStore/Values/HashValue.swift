import Primitives

/// The door to a hash: fields and their values, whatever they are kept in.
///
/// Small ones are a listpack of fields and values in turn, in the order of their coming.
/// Views are lent until the hash is changed.
public struct HashValue {
    let keys: StagedKeys
    let i: Int

    init(_ keys: StagedKeys, _ i: Int) {
        self.keys = keys
        self.i = i
    }
}

extension StagedKeys {
    /// The hash at key `i`, empty if the key is absent. Counts as an access. Fields whose time is over are
    /// gone. Errors: wrongType, unreadable.
    public func hash(_ i: Int) throws(CommandError) -> HashValue {
        let hash = HashValue(self, i)
        if case .structure(let structure) = try stored(i, .hash),
            structure.with(TableStructure.self, { $0.firstExpiry }) <= worker.now {
            try hash.expireFields()
        }
        return hash
    }
}

extension HashValue {
    public var exists: Bool { keys.exists(i) }

    /// What the key holds now.
    private func with<R>(
        absent: @autoclosure () -> R, flat: (FlatList) -> R, table: (TableStructure) -> R
    ) throws(CommandError) -> R {
        switch try keys.current(i) {
        case .absent: return absent()
        case .flat(let bytes): return flat(FlatList(bytes))
        case .structure(let structure): return structure.with(TableStructure.self, table)
        }
    }

    // MARK: Reading

    public func count() throws(CommandError) -> Int {
        try with(absent: 0, flat: { $0.count / 2 }, table: { $0.count })
    }

    public func value(_ field: ByteView) throws(CommandError) -> Element? {
        try with(
            absent: nil,
            flat: { list in
                guard let at = list.find(field, step: 2) else { return nil }
                return list.read(at + list.read(at).size).element
            },
            table: { $0.find(field).map { .bytes($0.payload) } })
    }

    /// Visits fields and values; stops when `visit` returns false.
    public func forEach(_ visit: (Element, Element) -> Bool) throws(CommandError) {
        try with(
            absent: (),
            flat: { list in
                var at = FlatList.headerSize
                while !list.isEnd(at) {
                    let (field, size) = list.read(at)
                    let (value, valueSize) = list.read(at + size)
                    if !visit(field, value) { return }
                    at += size + valueSize
                }
            },
            table: { structure in
                structure.table.forEach {
                    let member = structure.table.member($0)
                    return visit(.bytes(member.key), .bytes(member.payload))
                }
            })
    }

    /// HSCAN: visits at least `limit` fields from `cursor` on, a small hash whole; the next cursor, 0 at
    /// the end.
    public func scan(
        _ cursor: UInt64, atLeast limit: Int, _ visit: (Element, Element) -> Void
    ) throws(CommandError) -> UInt64 {
        if case .structure(let structure) = try keys.current(i) {
            let table = structure.with(TableStructure.self) { $0.table }
            return table.walk(from: cursor, atLeast: limit) {
                let member = table.member($0)
                visit(.bytes(member.key), .bytes(member.payload))
            }
        }
        try forEach { field, value in
            visit(field, value)
            return true
        }
        return 0
    }

    /// A field and its value, each as likely as any other. The hash must not be empty.
    public func random() throws(CommandError) -> (field: Element, value: Element) {
        switch try keys.current(i) {
        case .absent: preconditionFailure("an empty hash has no field")
        case .structure(let structure):
            let table = structure.with(TableStructure.self) { $0.table }
            let member = table.member(table.random(&keys.worker.random))
            return (.bytes(member.key), .bytes(member.payload))
        case .flat(let bytes):
            let list = FlatList(bytes)
            let pick = Int(keys.worker.random.below(UInt64(list.count / 2)))
            let at = list.offset(of: 2 * pick)!
            let (field, size) = list.read(at)
            return (field, list.read(at + size).element)
        }
    }

    // MARK: Changing

    /// Sets a field; true if it is new. Creates the hash. The field's expiry goes unless it is kept.
    @discardableResult
    public func set(
        _ field: ByteView, _ value: ByteView, keepsExpiry: Bool = false
    ) throws(CommandError) -> Bool {
        let limits = keys.limits
        let isLong = field.count > limits.hashValue || value.count > limits.hashValue
        let isNew: Bool
        switch try keys.current(i) {
        case .absent:
            let count = FlatList.emptySize + Packed.size(field) + Packed.size(value)
            if count > StagedKeys.flatBytesMax {
                keys.putStructure(i, .hash, makeTable())
                return try set(field, value)
            }
            let p = keys.putFlat(i, .hash, count: count)
            let size = Packed.write(field, p + FlatList.headerSize)
            Packed.write(value, p + FlatList.headerSize + size)
            FlatList.seal(p, count: 2)
            isNew = true
        case .flat(let bytes): isNew = try setFlat(FlatList(bytes), field, value)
        case .structure:
            isNew = try keys.beginStructureChange(i).with(TableStructure.self) { table in
                let expiry = keepsExpiry ? table.find(field)?.expiry : nil
                return table.set(field, value, expiry: expiry)
            }
        }
        if !keys.flag(i, Entry.wide) {
            let tooMany = isNew ? try count() > limits.hashEntries : false
            if isLong || tooMany { keys.setFlag(i, Entry.wide, true) }
        }
        return isNew
    }

    private func setFlat(
        _ list: FlatList, _ field: ByteView, _ value: ByteView
    ) throws(CommandError) -> Bool {
        let count = list.count, valueSize = Packed.size(value)
        if let at = list.find(field, step: 2) {
            let place = at + list.read(at).size
            let old = list.read(place).size
            if list.bytes.count - old + valueSize > StagedKeys.flatBytesMax { return try widen(field, value) }
            let p = try keys.splice(i, at: place, removing: old, inserting: valueSize)
            Packed.write(value, p + place)
            FlatList.seal(p, count: count)
            return false
        }
        let fieldSize = Packed.size(field)
        let bytes = list.bytes.count + fieldSize + valueSize
        if bytes > StagedKeys.flatBytesMax || count >= 2 * StagedKeys.flatFieldsMax {
            return try widen(field, value)
        }
        let end = list.endOffset
        let p = try keys.splice(i, at: end, removing: 0, inserting: fieldSize + valueSize)
        Packed.write(field, p + end)
        Packed.write(value, p + end + fieldSize)
        FlatList.seal(p, count: count + 2)
        return true
    }

    private func makeTable() -> TableStructure {
        TableStructure(keys.makeHeap(), keys.worker.hashing, isSet: false)
    }

    private func widen(_ field: ByteView, _ value: ByteView) throws(CommandError) -> Bool {
        try makeStructured()
        return try set(field, value)
    }

    /// Turns a small hash into a large one.
    private func makeStructured() throws(CommandError) {
        let table = makeTable()
        try forEach { field, value in
            field.withBytes { field in _ = value.withBytes { table.set(field, $0) } }
            return true
        }
        keys.putStructure(i, .hash, table, flags: keys.flag(i, Entry.wide) ? Entry.wide : 0)
    }

    /// Takes a field out; the key with the last one. False if it is not there.
    @discardableResult
    public func remove(_ field: ByteView) throws(CommandError) -> Bool {
        switch try keys.current(i) {
        case .absent: return false
        case .flat(let bytes):
            let list = FlatList(bytes)
            guard let at = list.find(field, step: 2) else { return false }
            let count = list.count - 2
            if count == 0 { return keys.delete(i) }
            let size = list.read(at).size
            let removed = size + list.read(at + size).size
            let p = try keys.splice(i, at: at, removing: removed, inserting: 0)
            FlatList.seal(p, count: count)
            return true
        case .structure(let structure):
            return try keys.remove(field, from: structure, i)
        }
    }

    // MARK: Expiry of fields

    /// When a field expires: nil if it does not, or is not there.
    public func expiry(_ field: ByteView) throws(CommandError) -> Int64? {
        try with(absent: nil, flat: { _ in nil }, table: { $0.find(field)?.expiry })
    }

    /// Sets or takes away the expiry of a field that is there.
    public func setExpiry(_ field: ByteView, _ time: Int64?) throws(CommandError) {
        if case .flat = try keys.current(i) {
            if time == nil { return }
            try makeStructured()
        }
        try keys.beginStructureChange(i).with(TableStructure.self) { table in
            guard let member = table.find(field) else { return }
            member.payload.array.withView { _ = table.set(field, $0, expiry: time) }
        }
    }

    func expireFields() throws(CommandError) {
        let left = try keys.beginStructureChange(i).with(TableStructure.self) { table in
            while let field = table.expired(keys.worker.now) {
                _ = field.array.withView { table.remove($0) }
                keys.worker.counters.expiredFields += 1
            }
            return table.count
        }
        if left == 0 { keys.delete(i) }
    }
}
