import Primitives
import Testing

@testable import TieredStore

/// Method: random changes, seeded, to a structure and to a plain model of it; looked at throughout, encoded
/// and read back at the end.
@Suite struct StructureTests {
    private func heap(_ bench: StoreBench) -> CellHeap { CellHeap(bench.worker.extents) }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// Reads what `structure` encodes to, in slices; its bytes must be as many as it says.
    private func copy(_ structure: Structure, _ bench: StoreBench, budget: Int = 7) throws -> Structure {
        let count = structure.encodedBytes
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, count), alignment: 8)
        defer { memory.deallocate() }
        var writer = RDBWriter(memory), cursor: UInt64 = 0
        while structure.encode(&writer, &cursor, budget: budget) {}
        #expect(writer.at - memory == count)
        let decoder = try #require(StructureDecoder(
            rdbType: structure.rdbType, ByteView(memory, count), heap(bench), bench.worker.hashing))
        while true {
            switch decoder.step(budget: budget) {
            case .more: continue
            case .done:
                #expect(decoder.remaining == 0)
                return decoder.structure
            case .failed:
                Issue.record("its own encoding cannot be read")
                return decoder.structure
            }
        }
    }

    // MARK: Hashes and sets

    private func contents(_ table: TableStructure) -> [[UInt8]: [UInt8]] {
        var found: [[UInt8]: [UInt8]] = [:]
        table.table.forEach {
            let member = table.table.member($0)
            #expect(found.updateValue(member.payload.array, forKey: member.key.array) == nil)
            return true
        }
        return found
    }

    @Test(arguments: 1...4) func aHashIsAsItsModel(seed: UInt64) throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let table = TableStructure(heap(bench), bench.worker.hashing, isSet: false)
        var random = Random(seed: seed), model: [[UInt8]: [UInt8]] = [:]
        for phase in 0..<4 {
            // Grows, shrinks, grows: segments split and join.
            let spread = [20_000, 20_000, 300, 6000][phase], removes: UInt64 = [10, 80, 95, 30][phase]
            for _ in 0..<[20_000, 40_000, 8000, 9000][phase] {
                let key = bytes("field:\(random.below(UInt64(spread)))")
                if random.below(100) < removes {
                    #expect(key.withView { table.remove($0) } == (model.removeValue(forKey: key) != nil))
                } else {
                    let value = [UInt8](repeating: 7, count: Int(random.below(90)))
                    let isNew = key.withView { key in value.withView { table.set(key, $0) } }
                    #expect(isNew == (model.updateValue(value, forKey: key) == nil))
                }
            }
            #expect(table.count == model.count)
            #expect(contents(table) == model)
        }
        let again = try #require(try copy(table, bench) as? TableStructure)
        #expect(contents(again) == model)
        #expect(again.encodedBytes == table.encodedBytes)
        for key in model.keys { #expect(key.withView { table.remove($0) }) }
        #expect(table.count == 0)
        #expect(table.encodedBytes == 1)
    }

    @Test func aWalkMeetsEveryMemberThatStays() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let table = TableStructure(heap(bench), bench.worker.hashing, isSet: true)
        for i in 0..<5000 { _ = bytes("stays:\(i)").withView { table.set($0, .empty) } }
        var met: Set<[UInt8]> = [], cursor: UInt64 = 0, step = 0
        repeat {
            cursor = table.table.walk(from: cursor, atLeast: 10) {
                met.insert(table.table.member($0).key.array)
            }
            step += 1
            // Meanwhile the table grows, and shrinks again.
            for i in 0..<100 {
                let key = bytes("goes:\(step / 40 % 2 == 0 ? step * 100 + i : (step - 40) * 100 + i)")
                _ = key.withView { step / 40 % 2 == 0 ? table.set($0, .empty) : table.remove($0) }
            }
        } while cursor != 0
        for i in 0..<5000 { #expect(met.contains(bytes("stays:\(i)"))) }
    }

    @Test func aRandomMemberIsAnyOfThem() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let table = TableStructure(heap(bench), bench.worker.hashing, isSet: true)
        for i in 0..<3000 { _ = bytes("\(i)").withView { table.set($0, .empty) } }
        for i in 40..<3000 { _ = bytes("\(i)").withView { table.remove($0) } }
        var random = Random(seed: 5), counts: [[UInt8]: Int] = [:]
        for _ in 0..<8000 {
            counts[table.table.member(table.table.random(&random)).key.array, default: 0] += 1
        }
        #expect(counts.count == 40)
        // 200 expected each; six standard deviations are 84.
        #expect(counts.values.allSatisfy { (116...284).contains($0) })
    }

    @Test func fieldsExpireInOrder() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let table = TableStructure(heap(bench), bench.worker.hashing, isSet: false)
        for i in 0..<500 {
            let expiry: Int64? = i % 5 == 0 ? nil : 10_000 + Int64(i * 7919 % 500)
            _ = bytes("f\(i)").withView { table.set($0, ByteView("value"), expiry: expiry) }
        }
        #expect(table.expiringCount == 400)
        let again = try #require(try copy(table, bench) as? TableStructure)
        #expect(again.expiringCount == 400 && again.firstExpiry == table.firstExpiry)
        bytes("f7").withView { #expect(again.find($0)?.expiry == table.find($0)?.expiry) }
        var last: Int64 = 0
        while let field = table.expired(.max) {
            let expiry = table.find(field)!.expiry!
            #expect(expiry >= last)
            last = expiry
            _ = field.array.withView { table.remove($0) }
        }
        #expect(table.count == 100 && table.rdbType == RDBType.hash)
    }

    // MARK: Sorted sets

    @Test(arguments: 1...4) func aSortedSetIsAsItsModel(seed: UInt64) throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let set = SortedStructure(heap(bench), bench.worker.hashing)
        var random = Random(seed: seed), model: [[UInt8]: Double] = [:]
        for phase in 0..<3 {
            let removes: UInt64 = [10, 85, 20][phase]
            for _ in 0..<[15_000, 15_000, 4000][phase] {
                let key = bytes("m\(random.below(6000))")
                if random.below(100) < removes {
                    #expect(key.withView { set.remove($0) } == (model.removeValue(forKey: key) != nil))
                } else {
                    let score = Double(random.below(50)) - 25
                    let isNew = model.updateValue(score, forKey: key) == nil
                    #expect(key.withView { set.set($0, score) } == isNew)
                }
            }
            try compare(set, model)
        }
        try compare(try #require(try copy(set, bench) as? SortedStructure), model)
        for key in model.keys { #expect(key.withView { set.remove($0) }) }
        #expect(set.tree.count == 0 && set.encodedBytes == 1)
    }

    private func compare(_ set: SortedStructure, _ model: [[UInt8]: Double]) throws {
        let order = model.sorted {
            $0.value != $1.value ? $0.value < $1.value : $0.key.lexicographicallyPrecedes($1.key)
        }
        #expect(set.count == order.count && set.tree.count == order.count)
        guard !order.isEmpty else { return }
        var place = set.tree.place(rank: 0)
        for (rank, (key, score)) in order.enumerated() {
            #expect(set.table.member(set.tree.cell(place)).key.array == key)
            #expect(set.tree.score(place) == score)
            if rank % 97 == 0 {
                #expect(key.withView { set.rank($0) } == rank)
                #expect(set.table.member(set.tree.cell(set.tree.place(rank: rank))).key.array == key)
                let below = order.firstIndex { $0.value >= score }!
                #expect(set.tree.rank { other, _ in other < score } == below)
            }
            #expect(set.tree.advance(&place, backward: false) == (rank + 1 < order.count))
        }
        place = set.tree.place(rank: order.count - 1)
        for (key, _) in order.reversed() {
            #expect(set.table.member(set.tree.cell(place)).key.array == key)
            _ = set.tree.advance(&place, backward: true)
        }
    }

    @Test func membersInOrderFillTheirLeaves() throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        var trees: [Int] = []
        for isUp in [true, false] {
            let heap = heap(bench), set = SortedStructure(heap, bench.worker.hashing)
            for i in 0..<10_000 {
                _ = bytes("m\(i)").withView { set.set($0, Double(isUp ? i : -i)) }
            }
            trees.append(heap.heldBytes)
        }
        // Cells of 24 bytes, slots of 8 at 60 %, leaves of 12 bytes at 100 %.
        #expect(trees.allSatisfy { $0 < 10_000 * 60 })
    }

    // MARK: Lists

    @Test(arguments: 1...6) func aListIsAsItsModel(seed: UInt64) throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let structure = ListStructure(heap(bench))
        var random = Random(seed: seed), model: [[UInt8]] = []
        func element() -> [UInt8] {
            let n = Int(random.below(100)) < 2 ? 6000 : Int(random.below(60))
            if random.below(3) == 0 { return bytes("\(random.below(1_000_000))") }
            return [UInt8](repeating: 97, count: n)
        }
        for step in 0..<6000 {
            let e = element(), at = model.isEmpty ? 0 : Int(random.below(UInt64(model.count)))
            switch random.below(step < 3000 ? 10 : 16) {
            case 0...2:
                e.withView { structure.list.pushBack($0) }
                model.append(e)
            case 3...5:
                e.withView { structure.list.pushFront($0) }
                model.insert(e, at: 0)
            case 6...7 where !model.isEmpty:
                let after = random.below(2) == 0
                e.withView { structure.list.insert($0, at: structure.list.place(at), after: after) }
                model.insert(e, at: after ? at + 1 : at)
            case 8 where !model.isEmpty:
                e.withView { structure.list.replace(structure.list.place(at), by: $0) }
                model[at] = e
            default:
                guard !model.isEmpty else { continue }
                var place = structure.list.place(at)
                model.remove(at: at)
                let hasNext = structure.list.remove(&place)
                #expect(hasNext == (at < model.count))
                if hasNext { #expect(structure.list.element(place).array == model[at]) }
            }
            #expect(structure.list.count == model.count)
            if step % 500 == 499 { compare(structure, model) }
        }
        compare(structure, model)
        compare(try #require(try copy(structure, bench) as? ListStructure), model)
    }

    private func compare(_ structure: ListStructure, _ model: [[UInt8]]) {
        guard !model.isEmpty else { return }
        var found: [[UInt8]] = []
        structure.list.forEach(from: structure.list.place(0), count: model.count) { found.append($0.array) }
        #expect(found == model)
        var place = structure.list.place(model.count - 1), backward: [[UInt8]] = []
        repeat {
            backward.append(structure.list.element(place).array)
        } while structure.list.advance(&place, backward: true)
        #expect(Array(backward.reversed()) == model)
    }

    // MARK: Streams

    @Test(arguments: 1...4) func aStreamIsAsItsModel(seed: UInt64) throws {
        let bench = try StoreBench { $0.memoryLimit = 64 << 20 }
        let stream = Stream(heap(bench)), limits = Stream.Limits()
        var random = Random(seed: seed), model: [(StreamID, [[UInt8]])] = []
        var time: UInt64 = 1_700_000_000_000
        for _ in 0..<4000 {
            switch random.below(12) {
            case 0 where !model.isEmpty:
                let at = Int(random.below(UInt64(model.count)))
                #expect(stream.delete(model[at].0))
                #expect(!stream.delete(model[at].0))
                model.remove(at: at)
            case 1 where model.count > 300:
                let most = model.count - Int(random.below(150))
                #expect(stream.trim(.maxLength(most), approximate: false, limit: 0) == model.count - most)
                model.removeFirst(model.count - most)
            default:
                time += random.below(4)
                let isSame = stream.lastID.milliseconds == time
                let id = StreamID(time, isSame ? stream.lastID.sequence + 1 : random.below(3))
                var pairs = ["f", "\(random.below(1 << 40))", "g", "text \(random.below(9))"].map(bytes)
                if random.below(10) == 0 {
                    pairs = [bytes("other"), [UInt8](repeating: 1, count: Int(random.below(300)))]
                }
                add(stream, id, pairs, limits)
                model.append((id, pairs))
            }
        }
        compare(stream, model)
        let group = try #require(stream.addGroup(ByteView("group"), lastID: .zero, entriesRead: nil))
        let consumers = ["b", "a"].map { name in bytes(name).withView { group.addConsumer($0, seenAt: 5) } }
        for (i, (id, _)) in model.enumerated() where i % 3 != 0 {
            group.deliver(id, to: consumers[i % 2], at: Int64(i), deliveries: UInt64(i))
        }
        for (i, (id, _)) in model.enumerated() where i % 5 == 0 {
            #expect(group.acknowledge(id) == (i % 3 != 0))
        }
        let again = try #require(try copy(stream, bench) as? Stream)
        compare(again, model)
        #expect(again.lastID == stream.lastID && again.maxDeletedID == stream.maxDeletedID)
        let other = try #require(again.group(ByteView("group")))
        #expect(other.pendingCount == group.pendingCount)
        #expect(other.consumers.map(\.name) == [bytes("a"), bytes("b")])
        #expect(other.consumers.map(\.pendingCount) == group.consumers.map(\.pendingCount))
    }

    private func add(_ stream: Stream, _ id: StreamID, _ pairs: [[UInt8]], _ limits: Stream.Limits) {
        let joined = Array(pairs.joined())
        joined.withView { view in
            var at = 0
            let elements = pairs.map { part in
                defer { at += part.count }
                return Element.bytes(view[at..<at + part.count])
            }
            stream.add(id, elements, limits)
        }
    }

    private func compare(_ stream: Stream, _ model: [(StreamID, [[UInt8]])]) {
        #expect(stream.length == model.count)
        var at = 0
        stream.forEach(from: .zero, to: .max) { entry in
            var pairs: [[UInt8]] = []
            entry.forEach { pairs += [$0.array, $1.array] }
            #expect(entry.id == model[at].0 && pairs == model[at].1)
            at += 1
            return at < model.count
        }
        #expect(at == model.count)
        at = model.count
        stream.forEach(from: .zero, to: .max, backward: true) { entry in
            at -= 1
            #expect(entry.id == model[at].0)
            return true
        }
        #expect(at == 0)
    }
}
