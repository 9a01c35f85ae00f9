import Glibc
import Primitives

/// A collection too large to lie in its entry, which holds a reference to it.
///
/// Guarded by its entry's stripe; one that is staged belongs to its worker. Written to the SSD and to
/// DUMP payloads in its RDB encoding, a slice at a time: a million members hold nobody up.
public class Structure {
    let heap: CellHeap

    init(_ heap: CellHeap) { self.heap = heap }

    public var count: Int { 0 }

    /// Exact bytes of the RDB encoding.
    var encodedBytes: Int { 0 }

    /// Type byte of the RDB encoding.
    var rdbType: UInt8 { 0 }

    /// RAM it takes.
    var heldBytes: Int { heap.heldBytes + 256 }

    /// Writes some more of the RDB encoding to `writer`, about `budget` members. `cursor` is 0 at first
    /// and belongs to the structure; returns false when all is written.
    func encode(_ writer: inout RDBWriter, _ cursor: inout UInt64, budget: Int) -> Bool { false }

    /// Reads the whole of an RDB encoding in slices of `budget` members; returns false when all is read
    /// or the reader has failed.
    func decode(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool { false }
}

/// A structure that its entry owns, lent until the key is changed.
///
/// Why not a reference: counting it, up and down for each look, was a tenth of the time of an RPUSH.
struct LentStructure {
    private let reference: Unmanaged<Structure>

    init(_ reference: Unmanaged<Structure>) { self.reference = reference }

    /// A reference of one's own.
    var held: Structure { reference.takeUnretainedValue() }

    var count: Int { reference._withUnsafeGuaranteedRef { $0.count } }

    /// The structure as what its key's type says it is; it must stay in its entry meanwhile.
    @inline(__always)
    func with<Kind: Structure, R>(_ kind: Kind.Type, _ body: (Kind) -> R) -> R {
        reference._withUnsafeGuaranteedRef { body(unsafeDowncast($0, to: kind)) }
    }
}

/// What a large hash and a large set have: members by key.
final class TableStructure: Structure {
    var table: MemberTable
    let isSet: Bool
    private let hashing: Hash64
    /// Bytes of the encoded members.
    private var memberBytes = 0
    /// Fields with an expiry, by it; while there are any, the encoding has one for each field.
    private var expiries: OrderTree?

    init(_ heap: CellHeap, _ hashing: Hash64, isSet: Bool) {
        table = MemberTable(heap)
        self.isSet = isSet
        self.hashing = hashing
        super.init(heap)
    }

    deinit { table.deallocate() }

    public override var count: Int { table.count }

    @inline(__always)
    func hash(_ key: ByteView) -> UInt32 { MemberTable.short(hashing(key)) }

    func find(_ key: ByteView) -> Member? {
        let cell = table.find(key, hash(key))
        return cell == 0 ? nil : table.member(cell)
    }

    /// Sets a field; true if it is new. A set's payload is empty.
    @discardableResult
    func set(_ key: ByteView, _ payload: ByteView, expiry: Int64? = nil) -> Bool {
        let hash = hash(key), cell = table.find(key, hash)
        guard cell != 0 else {
            let fresh = table.insert(key, payload, hash, expiry: expiry)
            memberBytes += cost(key.count, payload.count)
            noteExpiry(expiry, fresh)
            return true
        }
        if isSet { return false }
        let old = table.member(cell)
        memberBytes += RDBWriter.stringBytes(payload.count) - RDBWriter.stringBytes(old.payload.count)
        forgetExpiry(old)
        table.update(key, payload, hash, expiry: expiry)
        if expiry != nil { noteExpiry(expiry, table.find(key, hash)) }
        return false
    }

    private func cost(_ key: Int, _ payload: Int) -> Int {
        RDBWriter.stringBytes(key) + (isSet ? 0 : RDBWriter.stringBytes(payload))
    }

    private func noteExpiry(_ expiry: Int64?, _ cell: CellHeap.Reference) {
        guard let expiry else { return }
        if expiries == nil { expiries = OrderTree(heap) }
        expiries!.insert(Double(expiry), cell)
    }

    private func forgetExpiry(_ member: Member) {
        guard let expiry = member.expiry else { return }
        _ = expiries!.remove(Double(expiry), member.key)
    }

    var expiringCount: Int { expiries?.count ?? 0 }

    /// Unix milliseconds at which the next field expires.
    var firstExpiry: Int64 {
        guard let expiries, expiries.count > 0 else { return .max }
        return Int64(expiries.score(expiries.place(rank: 0)))
    }

    /// A field whose time is over at `now`.
    func expired(_ now: Int64) -> ByteView? {
        guard let expiries, expiries.count > 0, firstExpiry <= now else { return nil }
        return table.member(expiries.cell(expiries.place(rank: 0))).key
    }

    func remove(_ key: ByteView) -> Bool {
        let hash = hash(key), cell = table.find(key, hash)
        guard cell != 0 else { return false }
        let member = table.member(cell)
        memberBytes -= cost(member.key.count, member.payload.count)
        forgetExpiry(member)
        return table.remove(key, hash)
    }

    // MARK: Encoding

    override var rdbType: UInt8 {
        isSet ? RDBType.set : expiringCount > 0 ? RDBType.hashMetadata : RDBType.hash
    }

    override var encodedBytes: Int {
        RDBWriter.lengthBytes(count) + memberBytes + (expiringCount > 0 ? 8 + 9 * count : 0)
    }

    /// A field's expiry takes nine bytes here whatever it is, so that the length is known beforehand.
    override func encode(_ writer: inout RDBWriter, _ cursor: inout UInt64, budget: Int) -> Bool {
        if cursor == 0 {
            if expiringCount > 0 { writer.int64(firstExpiry) }
            writer.length(count)
        }
        let base = firstExpiry
        var out = writer
        cursor = table.walk(from: cursor, atLeast: budget) { cell in
            let member = table.member(cell)
            if expiringCount > 0 {
                out.byte(0x81)
                let rest = member.expiry.map { UInt64($0 - base + 1) } ?? 0
                out.int64(Int64(bitPattern: rest.bigEndian))
            }
            out.string(member.key)
            if !isSet { out.string(member.payload) }
        }
        writer = out
        return cursor != 0
    }

    override func decode(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0, !reader.failed {
            let key = reader.string()
            if reader.failed { break }
            // A set's members are lent one at a time; a field outlives the reading of its value.
            if isSet {
                if !set(key, .empty) { reader.fail() }
            } else {
                let isNew = key.array.withView { set($0, reader.string()) }
                if !isNew { reader.fail() }
            }
            left -= 1
            budget -= 1
        }
        return left > 0 && !reader.failed
    }

    /// Redis 7.4 knows no field expiry at or behind this one.
    static let expiryLimit: Int64 = 1 << 46

    /// The encoding of Redis 7.4 with an expiry a field; `base` came before the fields.
    func decodeExpiring(_ reader: inout RDBReader, _ left: inout Int, base: Int64, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0, !reader.failed {
            let rest = reader.length()
            let expiry: Int64? = rest == 0 ? nil : Int64(rest) &+ base &- 1
            if let expiry, expiry < 0 || expiry >= TableStructure.expiryLimit {
                reader.fail()
                break
            }
            let isNew = reader.string().array.withView { set($0, reader.string(), expiry: expiry) }
            if !isNew { reader.fail() }
            left -= 1
            budget -= 1
        }
        return left > 0 && !reader.failed
    }
}

/// A large sorted set: members by key, and in order.
final class SortedStructure: Structure {
    private(set) var table: MemberTable
    private(set) var tree: OrderTree
    private let hashing: Hash64
    private var memberBytes = 0

    init(_ heap: CellHeap, _ hashing: Hash64) {
        table = MemberTable(heap)
        tree = OrderTree(heap)
        self.hashing = hashing
        super.init(heap)
    }

    deinit { table.deallocate() }

    public override var count: Int { table.count }

    func score(_ key: ByteView) -> Double? {
        let cell = table.find(key, MemberTable.short(hashing(key)))
        return cell == 0 ? nil : table.member(cell).score
    }

    /// Adds a member or gives it another score; true if it is new.
    @discardableResult
    func set(_ key: ByteView, _ score: Double) -> Bool {
        let hash = MemberTable.short(hashing(key)), cell = table.find(key, hash)
        guard cell != 0 else {
            let cell = withUnsafeBytes(of: score) { table.insert(key, ByteView($0), hash) }
            tree.insert(score, cell)
            memberBytes += RDBWriter.stringBytes(key.count) + 8
            return true
        }
        let member = table.member(cell)
        if member.score == score {
            // 0 and -0 compare equal and are told apart in replies.
            member.setScore(score)
            return false
        }
        _ = tree.remove(member.score, member.key)
        member.setScore(score)
        tree.insert(score, cell)
        return false
    }

    func remove(_ key: ByteView) -> Bool {
        let hash = MemberTable.short(hashing(key)), cell = table.find(key, hash)
        guard cell != 0 else { return false }
        let member = table.member(cell)
        _ = tree.remove(member.score, member.key)
        memberBytes -= RDBWriter.stringBytes(member.key.count) + 8
        return table.remove(key, hash)
    }

    /// Bytes of the longest member.
    var longestMember: Int {
        var longest = 0
        table.forEach {
            longest = max(longest, table.member($0).key.count)
            return true
        }
        return longest
    }

    func rank(_ key: ByteView) -> Int? {
        let cell = table.find(key, MemberTable.short(hashing(key)))
        guard cell != 0 else { return nil }
        return tree.rank(table.member(cell).score, key)
    }

    // MARK: Encoding

    override var rdbType: UInt8 { RDBType.sortedSet }
    override var encodedBytes: Int { RDBWriter.lengthBytes(count) + memberBytes }

    /// From the highest score down, as Redis does.
    override func encode(_ writer: inout RDBWriter, _ cursor: inout UInt64, budget: Int) -> Bool {
        if cursor == 0 { writer.length(count) }
        let from = Int(cursor)
        guard from < count else { return false }
        var place = tree.place(rank: count - 1 - from), done = 0
        repeat {
            let member = table.member(tree.cell(place))
            writer.string(member.key)
            writer.double(member.score)
            done += 1
        } while done < budget && tree.advance(&place, backward: true)
        cursor += UInt64(done)
        return from + done < count
    }

    override func decode(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0, !reader.failed {
            let key = reader.string().array, score = reader.double()
            if score.isNaN { reader.fail() }
            if reader.failed || !key.withView({ set($0, score) }) { reader.fail() }
            left -= 1
            budget -= 1
        }
        return left > 0 && !reader.failed
    }
}

/// A large list.
final class ListStructure: Structure {
    var list: BlockList

    override init(_ heap: CellHeap) {
        list = BlockList(heap)
        super.init(heap)
    }

    deinit { list.deallocate() }

    public override var count: Int { list.count }

    // MARK: Encoding

    override var rdbType: UInt8 { RDBType.listQuicklist }

    override var encodedBytes: Int {
        var bytes = RDBWriter.lengthBytes(list.blockCount)
        for i in 0..<list.blockCount { bytes += 1 + RDBWriter.stringBytes(list.listpackBytes(i)) }
        return bytes
    }

    override func encode(_ writer: inout RDBWriter, _ cursor: inout UInt64, budget: Int) -> Bool {
        if cursor == 0 { writer.length(list.blockCount) }
        var block = Int(cursor), left = budget
        while block < list.blockCount, left > 0 {
            let bytes = list.listpackBytes(block)
            writer.length(2)
            writer.length(bytes)
            list.writeListpack(block, writer.at)
            writer.at += bytes
            left -= 64
            block += 1
        }
        cursor = UInt64(block)
        return block < list.blockCount
    }

    override func decode(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0, !reader.failed {
            let container = reader.length()
            let bytes = reader.string()
            if reader.failed { break }
            if container == 1, !bytes.isEmpty {
                list.pushBack(bytes)
                budget -= 1
            } else if container == 2, Listpack.check(bytes) != nil {
                Listpack(bytes).flat.forEach { element, _, _ in
                    element.withBytes { list.pushBack($0) }
                    budget -= 1
                    return true
                }
            } else {
                reader.fail()
            }
            left -= 1
        }
        return left > 0 && !reader.failed
    }

    /// The encoding of Redis 3.2 to 6.2: ziplists in a row.
    func decodeZiplists(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0, !reader.failed {
            let bytes = reader.string()
            guard !reader.failed, let count = Ziplist.check(bytes) else {
                reader.fail()
                break
            }
            Ziplist(bytes).forEach { element in
                element.withBytes { list.pushBack($0) }
                return true
            }
            budget -= max(1, count)
            left -= 1
        }
        return left > 0 && !reader.failed
    }

    /// The encoding of Redis before 3.2: strings in a row.
    func decodeStrings(_ reader: inout RDBReader, _ left: inout Int, budget: Int) -> Bool {
        var budget = budget
        while left > 0, budget > 0 {
            let element = reader.string()
            if reader.failed { break }
            list.pushBack(element)
            left -= 1
            budget -= 1
        }
        return left > 0 && !reader.failed
    }
}
