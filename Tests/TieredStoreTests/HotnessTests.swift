import Primitives
import Testing

@testable import TieredStore

/// Method: one entry in plain memory, accessed and passed by the hand in every order that matters;
/// then a store under pressure, to see who is in RAM.
@Suite struct HotnessTests {
    /// An entry as it is after its admission at epoch 100.
    static func entry(wasDemotedAt ghost: UInt8? = nil, _ body: (Entry) -> Void) {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
        defer { memory.deallocate() }
        let entry = Entry(memory)
        entry.initialise(type: .hash, key: ByteView("key"), expiry: 77)
        Hotness.admitted(entry, epoch: 100, wasDemotedAt: ghost)
        body(entry)
    }

    @Test func aNewValueNobodyUsesLeavesAtTheFirstVisit() {
        HotnessTests.entry { #expect(Hotness.isCold($0, epoch: 100)) }
    }

    @Test func anAccessOnProbationProtects() {
        HotnessTests.entry { entry in
            #expect(entry.has(Entry.probation))
            Hotness.accessed(entry, epoch: 100)
            #expect(!Hotness.isCold(entry, epoch: 100))
            #expect(!entry.has(Entry.probation))
            #expect(Hotness.isCold(entry, epoch: 100))
        }
    }

    @Test(arguments: 1...6) func aValueOutlivesAsManyVisitsAsItHadAccessesUpToThree(_ accesses: Int) {
        HotnessTests.entry { entry in
            for _ in 0..<accesses { Hotness.accessed(entry, epoch: 100) }
            var visits = 0
            while !Hotness.isCold(entry, epoch: 100) { visits += 1 }
            #expect(visits == min(accesses, 3))
        }
    }

    @Test func aValueThatComesBackSoonIsProtectedAtOnce() {
        HotnessTests.entry(wasDemotedAt: 84) { #expect(!$0.has(Entry.probation)) }
        HotnessTests.entry(wasDemotedAt: 83) { #expect($0.has(Entry.probation)) }
        // Epochs wrap: 250 is 106 epochs before 100.
        HotnessTests.entry(wasDemotedAt: 250) { #expect($0.has(Entry.probation)) }
    }

    @Test func accessesTouchNothingElseOfTheEntry() {
        HotnessTests.entry { entry in
            entry.valueCount = 5
            for _ in 0..<5 { Hotness.accessed(entry, epoch: 100) }
            #expect(entry.frequency == 3)
            #expect(entry.type == .hash)
            #expect(entry.epoch == 100)
            #expect(entry.expiry == 77)
            #expect(entry.key == ByteView("key"))
            #expect(entry.valueCount == 5)
        }
    }

    /// Method: a working set that is read all the time, and a scan of three times RAM's size.
    @Test func aScanOverColdDataLeavesTheWorkingSetInRAM() throws {
        let bench = try StoreBench()
        let value = EncodedRecord.noise(1000, seed: 1)
        for number in 0..<100 { bench.set("hot\(number)", value) }
        for number in 0..<3000 {
            bench.set("cold\(number)", value)
            #expect(try bench.get("hot\(number % 100)") == value)
            if number % 4 == 0 { bench.turn() }
        }
        bench.turn(20)
        let hot = (0..<100).filter { bench.residency("hot\($0)") != .demoted }.count
        #expect(bench.store.demotedItems > 1000)
        #expect(hot > 90)
        #expect(bench.store.ledger.peak <= bench.store.ledger.limit)
    }
}
