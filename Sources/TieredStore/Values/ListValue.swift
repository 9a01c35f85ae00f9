import Primitives

/// The door to a list. Small ones are a listpack. Views are lent until the list is changed.
public struct ListValue {
    let keys: StagedKeys
    let i: Int

    public enum End: Sendable { case head, tail }

    init(_ keys: StagedKeys, _ i: Int) {
        self.keys = keys
        self.i = i
    }
}

extension StagedKeys {
    /// The list at key `i`, empty if the key is absent. Counts as an access.
    /// Errors: wrongType, unreadable.
    public func list(_ i: Int) throws(CommandError) -> ListValue {
        _ = try stored(i, .list)
        return ListValue(self, i)
    }
}

extension ListValue {
    public var exists: Bool { keys.exists(i) }

    private func large(_ structure: LentStructure) -> ListStructure {
        unsafeDowncast(structure.held, to: ListStructure.self)
    }

    // MARK: Reading

    public func count() throws(CommandError) -> Int {
        switch try keys.current(i) {
        case .absent: 0
        case .flat(let bytes): FlatList(bytes).count
        case .structure(let structure): structure.count
        }
    }

    /// Element `index`, negative from the end; nil when there is none.
    public func element(_ index: Int) throws(CommandError) -> Element? {
        switch try keys.current(i) {
        case .absent: return nil
        case .flat(let bytes):
            let list = FlatList(bytes)
            return list.offset(of: index).map { list.read($0).element }
        case .structure(let structure):
            return structure.with(ListStructure.self) { large -> Element? in
                let wanted = index < 0 ? index + large.list.count : index
                guard wanted >= 0, wanted < large.list.count else { return nil }
                return large.list.element(large.list.place(wanted))
            }
        }
    }

    /// Visits `count` elements from `start` on, which must be there.
    public func forEach(
        from start: Int, count: Int, _ visit: (Element) -> Void
    ) throws(CommandError) {
        if count == 0 { return }
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes)
            var left = count
            list.forEach(from: list.offset(of: start)!) { element, _, _ in
                visit(element)
                left -= 1
                return left > 0
            }
        case .structure(let structure):
            let list = large(structure).list
            list.forEach(from: list.place(start), count: count, visit)
        }
    }

    /// Visits elements from one end with their distance from the head; stops when `visit` returns false.
    public func search(from end: End, _ visit: (Int, Element) -> Bool) throws(CommandError) {
        let isBackward = end == .tail
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes), count = list.count
            var at = isBackward ? list.endOffset : FlatList.headerSize
            for n in 0..<count {
                if isBackward { at = list.previous(at) }
                let (element, size) = list.read(at)
                if !visit(isBackward ? count - 1 - n : n, element) { return }
                if !isBackward { at += size }
            }
        case .structure(let structure):
            let list = large(structure).list
            var index = isBackward ? list.count - 1 : 0
            var place = list.place(index)
            repeat {
                if !visit(index, list.element(place)) { return }
                index += isBackward ? -1 : 1
            } while list.advance(&place, backward: isBackward)
        }
    }

    // MARK: Changing

    /// Adds an element at an end. Creates the list.
    public func push(_ element: ByteView, _ end: End) throws(CommandError) {
        let size = Packed.size(element)
        switch try keys.current(i) {
        case .absent:
            let bytes = FlatList.emptySize + size
            if bytes > StagedKeys.flatBytesMax {
                let structure = ListStructure(keys.makeHeap())
                structure.list.pushBack(element)
                return keys.putStructure(i, .list, structure)
            }
            let p = keys.putFlat(i, .list, count: bytes)
            Packed.write(element, p + FlatList.headerSize)
            FlatList.seal(p, count: 1)
        case .flat(let old):
            let list = FlatList(old), count = list.count + 1, bytes = old.count + size
            if bytes > StagedKeys.flatBytesMax {
                try makeStructured()
                return try push(element, end)
            }
            let at = end == .head ? FlatList.headerSize : list.endOffset
            let p = try keys.splice(i, at: at, removing: 0, inserting: size)
            Packed.write(element, p + at)
            FlatList.seal(p, count: count)
        case .structure:
            try keys.beginStructureChange(i).with(ListStructure.self) {
                if end == .head { $0.list.pushFront(element) } else { $0.list.pushBack(element) }
            }
        }
    }

    private func makeStructured() throws(CommandError) {
        let structure = ListStructure(keys.makeHeap())
        if case .flat(let bytes) = try keys.current(i) {
            FlatList(bytes).forEach { element, _, _ in
                element.withBytes { structure.list.pushBack($0) }
                return true
            }
        }
        keys.putStructure(i, .list, structure)
    }

    /// Takes `count` elements out from `start` on, which must be there; the key with the last one.
    public func removeRange(from start: Int, count: Int) throws(CommandError) {
        if count == 0 { return }
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes), left = list.count - count
            if left == 0 {
                keys.delete(i)
                return
            }
            let from = list.offset(of: start)!
            let to = start + count == list.count ? list.endOffset : list.offset(of: start + count)!
            let p = try keys.splice(i, at: from, removing: to - from, inserting: 0)
            FlatList.seal(p, count: left)
        case .structure:
            let isAll = try keys.beginStructureChange(i).with(ListStructure.self) { large in
                if large.list.count == count { return true }
                var place = large.list.place(start)
                for _ in 0..<count { large.list.remove(&place) }
                return false
            }
            if isAll { keys.delete(i) }
        }
    }

    /// Replaces element `index`, which must be there.
    public func replace(_ index: Int, by element: ByteView) throws(CommandError) {
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes), count = list.count, at = list.offset(of: index)!
            let old = list.read(at).size, size = Packed.size(element)
            if bytes.count - old + size > StagedKeys.flatBytesMax {
                try makeStructured()
                return try replace(index, by: element)
            }
            let p = try keys.splice(i, at: at, removing: old, inserting: size)
            Packed.write(element, p + at)
            FlatList.seal(p, count: count)
        case .structure:
            let list = large(try keys.beginStructureChange(i))
            list.list.replace(list.list.place(index), by: element)
        }
    }

    /// Puts an element in front of element `index`, or behind it.
    public func insert(_ element: ByteView, at index: Int, after: Bool) throws(CommandError) {
        switch try keys.current(i) {
        case .absent: return
        case .flat(let bytes):
            let list = FlatList(bytes), count = list.count, size = Packed.size(element)
            if bytes.count + size > StagedKeys.flatBytesMax {
                try makeStructured()
                return try insert(element, at: index, after: after)
            }
            var at = list.offset(of: index)!
            if after { at += list.read(at).size }
            let p = try keys.splice(i, at: at, removing: 0, inserting: size)
            Packed.write(element, p + at)
            FlatList.seal(p, count: count + 1)
        case .structure:
            let list = large(try keys.beginStructureChange(i))
            list.list.insert(element, at: list.list.place(index), after: after)
        }
    }

    /// Takes out up to `limit` elements equal to `wanted`, from one end on; returns how many.
    public func removeEqual(_ wanted: ByteView, limit: Int, from end: End) throws(CommandError) -> Int {
        var total = 0
        try search(from: end) { _, element in
            if element.equals(wanted) { total += 1 }
            return total < limit || end == .tail
        }
        let count = min(total, limit)
        if count == 0 { return 0 }
        // The last ones are those that remain when the others are passed over.
        var passed = end == .tail ? total - count : 0
        guard case .structure = try keys.current(i) else {
            try removeFlat(wanted, passing: passed, count: count)
            return count
        }
        let list = large(try keys.beginStructureChange(i))
        if list.count == count {
            keys.delete(i)
            return count
        }
        var place = list.list.place(0), left = count, hasMore = true
        while left > 0, hasMore {
            if list.list.element(place).equals(wanted) {
                if passed == 0 {
                    hasMore = list.list.remove(&place)
                    left -= 1
                    continue
                }
                passed -= 1
            }
            hasMore = list.list.advance(&place, backward: false)
        }
        return count
    }

    private func removeFlat(_ wanted: ByteView, passing: Int, count: Int) throws(CommandError) {
        var index = 0, passed = passing, left = count
        while left > 0, let element = try element(index) {
            guard element.equals(wanted) else {
                index += 1
                continue
            }
            if passed > 0 {
                passed -= 1
                index += 1
            } else {
                try removeRange(from: index, count: 1)
                left -= 1
            }
        }
    }
}
