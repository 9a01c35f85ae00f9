import Primitives

/// The door to a sorted set. Small ones are a listpack of members and scores in turn, in order. Views are
/// lent until the set is changed.
public struct SortedSetValue {
    let keys: StagedKeys
    let i: Int

    init(_ keys: StagedKeys, _ i: Int) {
        self.keys = keys
        self.i = i
    }
}

extension StagedKeys {
    /// The sorted set at key `i`, empty if the key is absent. Counts as an access.
    /// Errors: wrongType, unreadable.
    public func sortedSet(_ i: Int) throws(CommandError) -> SortedSetValue {
        _ = try stored(i, .sortedSet)
        return SortedSetValue(self, i)
    }
}

extension SortedSetValue {
    public var exists: Bool { keys.exists(i) }

    private func large(_ structure: LentStructure) -> SortedStructure {
        unsafeDowncast(structure.held, to: SortedStructure.self)
    }

    /// A score as the listpack has it: an integer, or text.
    static func score(_ element: Element) -> Double {
        switch element {
        case .integer(let value): Double(value)
        case .bytes(let text): Decimal.double(text) ?? 0
        }
    }

    /// A score as text. Redis 7.0's listpack knows no -0, its skip list does.
    private func withText<R>(_ score: Double, _ body: (ByteView) -> R) -> R {
        withUnsafeTemporaryAllocation(byteCount: Decimal.doubleBytesMax, alignment: 8) {
            let kept = score == 0 && !keys.flag(i, Entry.wide) ? 0 : score
            let count = Decimal.write(kept, to: $0.baseAddress!)
            return body(ByteView(UnsafeRawPointer($0.baseAddress!), count))
        }
    }

    // MARK: Reading

    public func count() throws(CommandError) -> Int {
        switch try keys.current(i) {
        case .absent: 0
        case .flat(let bytes): FlatList(bytes).count / 2
        case .structure(let structure): structure.count
        }
    }

    public func score(_ member: ByteView) throws(CommandError) -> Double? {
        switch try keys.current(i) {
        case .absent: return nil
        case .flat(let bytes):
            let list = FlatList(bytes)
            guard let at = list.find(member, step: 2) else { return nil }
            return SortedSetValue.score(list.read(at + list.read(at).size).element)
        case .structure(let structure): return structure.with(SortedStructure.self) { $0.score(member) }
        }
    }

    /// How many members stand before this one; nil if it is not there.
    public func rank(_ member: ByteView) throws(CommandError) -> Int? {
        switch try keys.current(i) {
        case .absent: return nil
        case .flat(let bytes):
            var rank = 0
            let list = FlatList(bytes)
            guard let wanted = list.find(member, step: 2) else { return nil }
            var at = FlatList.headerSize
            while at < wanted {
                at += list.read(at).size
                at += list.read(at).size
                rank += 1
            }
            return rank
        case .structure(let structure): return structure.with(SortedStructure.self) { $0.rank(member) }
        }
    }

    /// How many members `isBefore` holds for: for the first so many and no others.
    public func rank(where isBefore: (Double, Element) -> Bool) throws(CommandError) -> Int {
        switch try keys.current(i) {
        case .absent: return 0
        case .flat(let bytes):
            let list = FlatList(bytes)
            var at = FlatList.headerSize, rank = 0
            while !list.isEnd(at) {
                let (member, size) = list.read(at)
                let (score, scoreSize) = list.read(at + size)
                if !isBefore(SortedSetValue.score(score), member) { break }
                rank += 1
                at += size + scoreSize
            }
            return rank
        case .structure(let structure):
            return large(structure).tree.rank { isBefore($0, .bytes($1.key)) }
        }
    }

    /// Visits `count` members from `rank` on, forward or backward; all must be there. Stops when `visit`
    /// returns false.
    public func forEach(
        from rank: Int, count: Int, backward: Bool = false, _ visit: (Element, Double) -> Bool
    ) throws(CommandError) {
        if count <= 0 { return }
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes)
            var at = list.offset(of: 2 * rank)!
            for n in 0..<count {
                let (member, size) = list.read(at)
                let (score, scoreSize) = list.read(at + size)
                if !visit(member, SortedSetValue.score(score)) { return }
                if !backward {
                    at += size + scoreSize
                } else if n + 1 < count {
                    at = list.previous(list.previous(at))
                }
            }
        case .structure(let structure):
            let set = large(structure)
            var place = set.tree.place(rank: rank), left = count
            repeat {
                let member = set.table.member(set.tree.cell(place))
                if !visit(.bytes(member.key), set.tree.score(place)) { return }
                left -= 1
            } while left > 0 && set.tree.advance(&place, backward: backward)
        }
    }

    /// ZSCAN: as `HashValue.scan`.
    public func scan(
        _ cursor: UInt64, atLeast limit: Int, _ visit: (Element, Double) -> Void
    ) throws(CommandError) -> UInt64 {
        if case .structure(let structure) = try keys.current(i) {
            let table = large(structure).table
            return table.walk(from: cursor, atLeast: limit) {
                let member = table.member($0)
                visit(.bytes(member.key), member.score)
            }
        }
        try forEach(from: 0, count: try count()) {
            visit($0, $1)
            return true
        }
        return 0
    }

    /// Rank of a member, each as likely as any other. The set must not be empty.
    public func randomRank() throws(CommandError) -> Int {
        Int(keys.worker.random.below(UInt64(try count())))
    }

    // MARK: Changing

    /// Adds a member or gives it another score; true if it is new. Creates the set.
    @discardableResult
    public func set(_ member: ByteView, _ score: Double) throws(CommandError) -> Bool {
        let limits = keys.limits
        let isNew: Bool
        switch try keys.current(i) {
        case .absent:
            let bytes = FlatList.emptySize + Packed.size(member) + Decimal.doubleBytesMax
            if bytes > StagedKeys.flatBytesMax {
                let structure = makeStructure()
                structure.set(member, score)
                keys.putStructure(i, .sortedSet, structure)
            } else {
                create(member, score)
            }
            isNew = true
        case .flat(let bytes): isNew = try setFlat(FlatList(bytes), member, score)
        case .structure:
            isNew = try keys.beginStructureChange(i).with(SortedStructure.self) { $0.set(member, score) }
        }
        if isNew, !keys.flag(i, Entry.wide) {
            let tooMany = try count() > limits.sortedSetEntries
            if member.count > limits.sortedSetValue || tooMany { keys.setFlag(i, Entry.wide, true) }
        }
        return isNew
    }

    private func create(_ member: ByteView, _ score: Double, flags: UInt32 = 0) {
        withText(score) { text in
            let size = Packed.size(member), bytes = FlatList.emptySize + size + Packed.size(text)
            let p = keys.putFlat(i, .sortedSet, count: bytes, flags: flags)
            Packed.write(member, p + FlatList.headerSize)
            Packed.write(text, p + FlatList.headerSize + size)
            FlatList.seal(p, count: 2)
        }
    }

    private func makeStructure() -> SortedStructure {
        SortedStructure(keys.makeHeap(), keys.worker.hashing)
    }

    private func makeStructured() throws(CommandError) {
        let structure = makeStructure()
        try forEach(from: 0, count: try count()) { member, score in
            _ = member.withBytes { structure.set($0, score) }
            return true
        }
        keys.putStructure(i, .sortedSet, structure, flags: keys.flag(i, Entry.wide) ? Entry.wide : 0)
    }

    private func setFlat(
        _ list: FlatList, _ member: ByteView, _ score: Double
    ) throws(CommandError) -> Bool {
        if let at = list.find(member, step: 2) {
            let size = list.read(at).size, old = list.read(at + size)
            if SortedSetValue.score(old.element) == score { return false }
            if list.count == 2 {
                create(member, score, flags: keys.flag(i, Entry.wide) ? Entry.wide : 0)
                return false
            }
            // Out and in again: its place is another.
            _ = try remove(member)
            try setFlatAbsent(member, score)
            return false
        }
        try setFlatAbsent(member, score)
        return true
    }

    /// Adds a member that is not there to a set that is.
    private func setFlatAbsent(_ member: ByteView, _ score: Double) throws(CommandError) {
        guard case .flat(let bytes) = try keys.current(i) else { return }
        let list = FlatList(bytes), count = list.count
        let memberSize = Packed.size(member)
        let needed = bytes.count + memberSize + Decimal.doubleBytesMax
        if needed > StagedKeys.flatBytesMax || count >= 2 * StagedKeys.flatMembersMax {
            try makeStructured()
            large(try keys.beginStructureChange(i)).set(member, score)
            return
        }
        let at = SortedSetValue.place(list, member, score)
        let scoreSize = withText(score) { Packed.size($0) }
        let p = try keys.splice(i, at: at, removing: 0, inserting: memberSize + scoreSize)
        Packed.write(member, p + at)
        _ = withText(score) { Packed.write($0, p + at + memberSize) }
        FlatList.seal(p, count: count + 2)
    }

    /// Where a member belongs in a listpack.
    private static func place(_ list: FlatList, _ member: ByteView, _ score: Double) -> Int {
        var at = FlatList.headerSize
        while !list.isEnd(at) {
            let (other, size) = list.read(at)
            let (text, textSize) = list.read(at + size)
            let otherScore = SortedSetValue.score(text)
            if otherScore > score { break }
            if otherScore == score, other.withBytes({ member < $0 }) { break }
            at += size + textSize
        }
        return at
    }

    /// Takes a member out; the key with the last one. False if it is not there.
    @discardableResult
    public func remove(_ member: ByteView) throws(CommandError) -> Bool {
        switch try keys.current(i) {
        case .absent: return false
        case .flat(let bytes):
            let list = FlatList(bytes)
            guard let at = list.find(member, step: 2) else { return false }
            let size = list.read(at).size
            try cut(list, at, size + list.read(at + size).size, elements: 2)
            return true
        case .structure(let structure):
            if structure.with(SortedStructure.self, { $0.score(member) == nil }) { return false }
            let left = try keys.beginStructureChange(i).with(SortedStructure.self) {
                _ = $0.remove(member)
                return $0.count
            }
            if left == 0 { keys.delete(i) }
            return true
        }
    }

    private func cut(_ list: FlatList, _ at: Int, _ size: Int, elements: Int) throws(CommandError) {
        let count = list.count - elements
        if count == 0 {
            keys.delete(i)
            return
        }
        let p = try keys.splice(i, at: at, removing: size, inserting: 0)
        FlatList.seal(p, count: count)
    }

    /// Takes `count` members out from `rank` on, which must be there.
    public func removeRange(from rank: Int, count: Int) throws(CommandError) {
        if count == 0 { return }
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes)
            let from = list.offset(of: 2 * rank)!
            let to = 2 * (rank + count) == list.count ? list.endOffset : list.offset(of: 2 * (rank + count))!
            try cut(list, from, to - from, elements: 2 * count)
        case .structure:
            let set = large(try keys.beginStructureChange(i))
            if set.count == count {
                keys.delete(i)
                return
            }
            for _ in 0..<count {
                let member = set.table.member(set.tree.cell(set.tree.place(rank: rank)))
                _ = member.key.array.withView { set.remove($0) }
            }
        }
    }
}
