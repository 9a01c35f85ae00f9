import Primitives

/// Values as DUMP payloads and back. Shape: | RDB type 1 | RDB encoding … | RDB version 2 | CRC64 8 |.
extension StagedKeys {
    /// The RDB version written. Up to `rdbVersionMax` is read: what is new in Redis 7.2 and 7.4 is known.
    private static let rdbVersion = 10
    private static let rdbVersionMax = 12

    /// A key's value, for exchange with any Redis since 7.0; nil if it is absent. No access is counted.
    public func dump(_ i: Int) throws(CommandError) -> [UInt8]? {
        guard let entry = entry(i) else { return nil }
        let value: RDBValue
        if entry.type == .string {
            value = RDBValue(string: try peekString(i)!)
        } else {
            switch try current(i) {
            case .absent: return nil
            case .flat(let bytes): value = RDBValue(type: entry.type, flags: self.entry(i)!.flags, bytes)
            case .structure(let lent): value = RDBValue(structure: lent.held)
            }
        }
        var payload = [UInt8](unsafeUninitializedCapacity: value.byteCount + 10) { buffer, used in
            var writer = RDBWriter(UnsafeMutableRawPointer(buffer.baseAddress!))
            value.write(&writer)
            used = value.byteCount
        }
        payload += [UInt8(StagedKeys.rdbVersion), 0]
        let checksum = payload.withView { CRC64.checksum($0) }
        withUnsafeBytes(of: checksum.littleEndian) { payload += $0 }
        return payload
    }

    // MARK: Restoring

    /// Whether a payload's version and checksum are right.
    public static func isIntact(_ payload: ByteView, least: Int = 11) -> Bool {
        guard payload.count >= least else { return false }
        let foot = payload.base + (payload.count - 10)
        guard Int(foot.loadUnaligned(as: UInt16.self).littleEndian) <= rdbVersionMax else { return false }
        let checksum = foot.loadUnaligned(fromByteOffset: 2, as: UInt64.self).littleEndian
        return checksum == CRC64.checksum(payload[0..<payload.count - 8])
    }

    /// Sets key `i` to the value of an intact payload, whatever it held; false if the payload makes no sense,
    /// and nothing is changed then.
    public func restore(_ i: Int, _ payload: ByteView, expiry: ExpiryChange) throws(CommandError) -> Bool {
        let type = payload[0], body = payload[1..<payload.count - 10]
        if type == RDBType.string {
            var reader = RDBReader(body)
            let value = reader.string()
            if reader.failed || reader.remaining > 0 { return false }
            setString(i, value, expiry: expiry)
            return true
        }
        guard let decoder = StructureDecoder(rdbType: type, body, makeHeap(), worker.hashing),
            case .done = decoder.step(budget: .max), decoder.remaining == 0
        else { return false }
        let structure = decoder.structure
        if structure.count == 0, !(structure is Stream) { return false }
        delete(i)
        try adopt(i, structure, decoder.listpack)
        if case .at(let time) = expiry { setExpiry(i, time) }
        return true
    }

    /// Makes a structure the value of an absent key: a small one goes into the key's entry. `listpack`: the
    /// bytes it was read from, if these can be kept.
    private func adopt(_ i: Int, _ structure: Structure, _ listpack: ByteView?) throws(CommandError) {
        switch structure {
        case let table as TableStructure:
            if table.isSet || table.expiringCount == 0, isSmall(table) {
                return try adopt(i, members: table, listpack)
            }
            let isWide = table.count > limits.hashEntries || longest(table) > limits.hashValue
            putStructure(i, table.isSet ? .set : .hash, table, flags: isWide && !table.isSet ? Entry.wide : 0)
        case let sorted as SortedStructure:
            guard isSmall(sorted) else {
                let isWide = sorted.count > limits.sortedSetEntries
                    || sorted.longestMember > limits.sortedSetValue
                return putStructure(i, .sortedSet, sorted, flags: isWide ? Entry.wide : 0)
            }
            let set = SortedSetValue(self, i)
            for rank in 0..<sorted.count {
                let place = sorted.tree.place(rank: rank)
                try set.set(sorted.table.member(sorted.tree.cell(place)).key, sorted.tree.score(place))
            }
        case let list as ListStructure:
            guard list.encodedBytes <= StagedKeys.flatBytesMax, list.list.blockCount < 8 else {
                return putStructure(i, .list, list)
            }
            var elements: [[UInt8]] = []
            list.list.forEach(from: list.list.place(0), count: list.count) { elements.append($0.array) }
            let target = ListValue(self, i)
            for element in elements {
                try StagedKeys.lend(element) { view throws(CommandError) in try target.push(view, .tail) }
            }
        default: putStructure(i, .stream, structure)
        }
    }

    private static func lend(
        _ bytes: [UInt8], _ body: (ByteView) throws(CommandError) -> Void
    ) throws(CommandError) {
        let result = bytes.withView { view in Result { () throws(CommandError) in try body(view) } }
        try result.get()
    }

    private func isSmall(_ structure: Structure) -> Bool {
        structure.count <= 512 && structure.encodedBytes <= StagedKeys.flatBytesMax / 2
    }

    private func longest(_ table: TableStructure) -> Int {
        var longest = 0
        table.table.forEach {
            let member = table.table.member($0)
            longest = max(longest, member.key.count, member.payload.count)
            return true
        }
        return longest
    }

    private func adopt(
        _ i: Int, members table: TableStructure, _ listpack: ByteView?
    ) throws(CommandError) {
        if !table.isSet, let listpack, listpack.count <= StagedKeys.flatBytesMax {
            // In the order it came in.
            let isWide = table.count > limits.hashEntries || longest(table) > limits.hashValue
            let p = putFlat(i, .hash, count: listpack.count, flags: isWide ? Entry.wide : 0)
            return p.copyMemory(from: listpack.base, byteCount: listpack.count)
        }
        var failure: CommandError?
        table.table.forEach { cell in
            let member = table.table.member(cell)
            do throws(CommandError) {
                if table.isSet {
                    _ = try SetValue(self, i).add(member.key)
                } else {
                    _ = try HashValue(self, i).set(member.key, member.payload)
                }
            } catch { failure = error }
            return failure == nil
        }
        if let failure { throw failure }
    }
}
