import Glibc
import Primitives
import Testing

@testable import TieredStore

/// Method: allocates cells of all sizes and fills each with a byte of its own, so that an overlap
/// shows when it is freed; the sums the allocator keeps are compared with what is held.
@Suite struct SlabAllocatorTests {
    /// A worker's slabs with pages and a ledger of their own.
    final class Bench {
        let ledger: Ledger
        let arena: PageArena
        let slabs: SlabAllocator
        var held: [Held] = []

        struct Held {
            var cell: UnsafeMutableRawPointer
            var size: Int
            var mark: UInt8
        }

        init(pageSize: Int, limit: Int = .max / 2) throws {
            var options = StoreOptions.tiny
            options.pageSize = pageSize
            options.addressSpace = 64 << 20
            ledger = Ledger(limit: limit)
            let space = try #require(AddressSpace(byteCount: options.addressSpace))
            arena = try #require(PageArena(space, options: options, ledger: ledger))
            slabs = SlabAllocator(
                arena: arena, classes: SizeClasses(pageSize: pageSize), worker: 0, threaded: false)
        }

        func allocate(_ size: Int, stripe: Int = 5) -> Bool {
            guard let cell = slabs.allocate(size, stripe: stripe) else { return false }
            let mark = UInt8(truncatingIfNeeded: held.count &* 37 &+ size)
            memset(cell, Int32(mark), slabs.capacity(of: cell))
            held.append(Held(cell: cell, size: size, mark: mark))
            return true
        }

        /// Frees what is held at `index`; whether its bytes were as they had been written.
        func free(_ index: Int) -> Bool {
            held.swapAt(index, held.count - 1)
            let one = held.removeLast()
            let intact = one.cell.load(as: UInt8.self) == one.mark
                && memcmp(one.cell, one.cell + 1, slabs.capacity(of: one.cell) - 1) == 0
            slabs.free(one.cell)
            return intact
        }

        /// Frees the rest with RAM short. A page that was emptied while RAM was plenty goes with the
        /// next cell freed in it.
        func freeAll() -> Bool {
            ledger.limit = 0
            var intact = true
            while !held.isEmpty { if !free(held.count - 1) { intact = false } }
            for size in slabs.classes.sizes {
                if let cell = slabs.allocate(size, stripe: 0, reserve: 1 << 40) { slabs.free(cell) }
            }
            return intact
        }

        var liveBytes: Int { held.reduce(0) { $0 + slabs.capacity(of: $1.cell) } }
    }

    @Test(arguments: [4 << 10, 16 << 10, 64 << 10])
    func aCellHoldsWhatItWasAskedForAndLittleIsLost(_ pageSize: Int) {
        let classes = SizeClasses(pageSize: pageSize)
        #expect(classes.sizes == classes.sizes.sorted())
        #expect(classes.sizes.allSatisfy { $0 % 4 == 0 })
        for size in 1...classes.largest {
            let index = classes.index(for: size)
            guard classes.sizes[index] >= size, index == 0 || classes.sizes[index - 1] < size else {
                Issue.record("\(size) bytes get a cell of \(classes.sizes[index])")
                return
            }
            // Up to 4 KiB with large pages: at most 3 % and the unit of 4 bytes.
            if pageSize == 64 << 10, (16...4096).contains(size) {
                #expect(classes.sizes[index] - size <= max(3, size * 3 / 100 + 4))
            }
        }
    }

    @Test(arguments: [4 << 10, 64 << 10], [UInt64(1), 2, 3])
    func cellsNeverOverlapAndTheLedgerReturnsToZero(_ pageSize: Int, _ seed: UInt64) throws {
        let bench = try Bench(pageSize: pageSize)
        var random = Random(seed: seed)
        let largest = bench.slabs.classes.largest
        for step in 0..<6000 {
            let grows = step % 2000 < 1300
            if bench.held.isEmpty || random.below(10) < (grows ? 7 : 2) {
                let most = random.below(10) == 0 ? largest : min(largest, 300)
                try #require(bench.allocate(1 + Int(random.below(UInt64(most)))))
            } else {
                try #require(bench.free(Int(random.below(UInt64(bench.held.count)))), "step \(step)")
            }
            try #require(bench.slabs.pages * pageSize == bench.ledger.used)
            if step % 50 == 0 { try #require(bench.slabs.liveBytes == bench.liveBytes) }
        }
        #expect(bench.freeAll())
        #expect(bench.slabs.usage == (0, 0, 0))
        #expect(bench.ledger.used == 0)
    }

    @Test func freedCellsAreUsedBeforeAnotherPageIsTaken() throws {
        let bench = try Bench(pageSize: 64 << 10)
        while bench.slabs.pages < 4 { #expect(bench.allocate(500)) }
        _ = bench.held.indices.reversed().filter { $0 % 2 == 0 }.map { bench.free($0) }
        let count = bench.held.count
        while bench.held.count < count * 2 - 2 { #expect(bench.allocate(500)) }
        #expect(bench.slabs.pages == 4)
        #expect(bench.freeAll())
    }

    @Test func withoutRAMThereIsNoCell() throws {
        let bench = try Bench(pageSize: 4 << 10, limit: 8 << 10)
        while bench.allocate(1000) {}
        #expect(bench.ledger.used == 8 << 10)
        #expect(!bench.slabs.hasFreeCell(1000))
        #expect(bench.slabs.allocate(1000, stripe: 1, reserve: 4 << 10) != nil)
        #expect(bench.ledger.used == 12 << 10)
        let before = bench.held.count
        #expect(bench.free(0))
        #expect(bench.allocate(1000))
        #expect(bench.held.count == before)
    }

    @Test func aCellKnowsItsStripeUntilItIsFreed() throws {
        let bench = try Bench(pageSize: 4 << 10)
        #expect(bench.allocate(100, stripe: 0))
        #expect(bench.allocate(100, stripe: 1023))
        let page = bench.arena.page(of: bench.held[0].cell)
        #expect(bench.slabs.owner(page, 0) == 0)
        #expect(bench.slabs.owner(page, 1) == 1023)
        #expect(bench.slabs.owner(page, 2) == nil)
        #expect(bench.free(0))
        #expect(bench.slabs.owner(page, 0) == nil)
        #expect(bench.slabs.owner(page, 1) == 1023)
    }
}

extension SlabAllocatorTests {
    /// Method: leaves one cell in eight, then empties sparse pages as `StoreWorker.evacuate` does.
    @Test(arguments: [4 << 10, 64 << 10]) func emptyingSparsePagesGivesTheirRAMBack(_ pageSize: Int) throws {
        let bench = try Bench(pageSize: pageSize)
        let size = 300, capacity = Int(bench.slabs.capacities[bench.slabs.classes.index(for: size)])
        while bench.held.count < capacity * 32 { try #require(bench.allocate(size)) }
        for index in (0..<bench.held.count).reversed() where index % 8 != 0 { #expect(bench.free(index)) }
        let sparse = bench.slabs.pages
        #expect(bench.slabs.canBeEmptied)
        while let (page, sizeClass) = bench.slabs.sparsestPage() {
            for index in 0..<capacity where bench.slabs.owner(page, index) != nil {
                let old = bench.slabs.cell(page, index, sizeClass)
                let at = try #require(bench.held.firstIndex { $0.cell == old })
                let new = try #require(bench.slabs.allocate(size, stripe: 5))
                #expect(bench.arena.page(of: new) != page)
                new.copyMemory(from: old, byteCount: bench.slabs.capacity(of: old))
                bench.held[at].cell = new
                bench.slabs.free(old)
            }
            bench.slabs.restore(page)
        }
        #expect(sparse >= 31)
        #expect(bench.slabs.pages <= 32 / 8 + 2)
        #expect(bench.ledger.used == bench.slabs.pages * pageSize)
        #expect(bench.freeAll())
        #expect(bench.ledger.used == 0)
    }

    @Test func aPageBeingEmptiedHandsOutNoCellUntilItIsRestored() throws {
        let bench = try Bench(pageSize: 4 << 10)
        let capacity = Int(bench.slabs.capacities[bench.slabs.classes.index(for: 100)])
        while bench.held.count < capacity * 6 { try #require(bench.allocate(100)) }
        for index in (0..<bench.held.count).reversed() where index % 2 == 0 { #expect(bench.free(index)) }
        let (page, _) = try #require(bench.slabs.sparsestPage())
        let moved = try #require(bench.held.firstIndex { bench.arena.page(of: $0.cell) == page })
        #expect(bench.free(moved))
        for _ in 0..<capacity * 6 {
            try #require(bench.allocate(100))
            #expect(bench.arena.page(of: bench.held.last!.cell) != page)
        }
        bench.slabs.restore(page)
        let pages = bench.slabs.pages
        while bench.slabs.pages == pages { try #require(bench.allocate(100)) }
        #expect(bench.held.contains { bench.arena.page(of: $0.cell) == page })
        #expect(bench.freeAll())
    }

    @Test func anEmptyPageIsKeptOnlyWhileRAMIsPlenty() throws {
        let bench = try Bench(pageSize: 4 << 10)
        #expect(bench.allocate(100))
        #expect(bench.free(0))
        #expect(bench.slabs.pages == 1)
        #expect(bench.allocate(100))
        bench.ledger.limit = 4 << 10
        #expect(bench.free(0))
        #expect(bench.slabs.pages == 0)
        #expect(bench.ledger.used == 0)
    }
}
