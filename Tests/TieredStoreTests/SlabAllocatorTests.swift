import Glibc
import Primitives
import Testing

@testable import TieredStore

/// Proves that cells in use never overlap, and that RAM held is accounted for and given back.
struct SlabAllocatorTests {
    /// A store's slabs, with every cell in use remembered and filled with a byte of its own.
    private final class Bench {
        struct Cell {
            var at: UnsafeMutableRawPointer
            var size: Int
            var stripe: Int
            var stamp: UInt8
        }
        let store: Store
        let slabs: SlabAllocator
        var cells: [Cell] = []
        private var stamp: UInt8 = 0

        init(pageSize: Int, limit: Int = 64 << 20) throws {
            var options = StoreOptions.tiny
            options.pageSize = pageSize
            options.memoryLimit = limit
            store = try #require(Store(options))
            slabs = store.workers[0].slabs
        }

        deinit { store.tearDown() }

        func take(_ size: Int, stripe: Int = 3, reserve: Int = 0) -> Bool {
            guard let at = slabs.allocate(size, stripe: stripe, reserve: reserve) else { return false }
            stamp &+= 1
            let capacity = slabs.capacity(of: at)
            #expect(capacity >= size)
            memset(at, Int32(stamp), capacity)
            cells.append(Cell(at: at, size: capacity, stripe: stripe, stamp: stamp))
            return true
        }

        /// Frees cell `index`; its bytes must be what they were.
        func give(_ index: Int) {
            let cell = cells[index]
            cells[index] = cells[cells.count - 1]
            cells.removeLast()
            let bytes = ByteView(cell.at, cell.size)
            #expect(bytes.buffer.allSatisfy { $0 == cell.stamp }, "a cell of \(cell.size) was overwritten")
            slabs.free(cell.at)
        }

        /// No two cells overlap, none reaches out of its page, and the sums are right.
        func check() {
            let order = cells.sorted { $0.at < $1.at }
            for (a, b) in zip(order, order.dropFirst()) {
                #expect(a.at + a.size <= b.at, "cells overlap")
            }
            for cell in order {
                let page = store.arena.address(store.arena.page(of: cell.at))
                #expect(cell.at >= page + 2)
                #expect(cell.at + cell.size <= page + store.arena.pageSize)
                #expect(UInt(bitPattern: cell.at) & 3 == 0)
            }
            let usage = slabs.usage
            #expect(usage.live == cells.reduce(0) { $0 + $1.size })
            #expect(usage.held >= usage.live && usage.held <= usage.pages * store.arena.pageSize)
            #expect(store.ledger.used == usage.pages * store.arena.pageSize)
        }

        func freeAll() { while !cells.isEmpty { give(cells.count - 1) } }
    }

    @Test(arguments: [4 << 10, 16 << 10, 64 << 10]) func cellsDoNotOverlap(_ pageSize: Int) throws {
        let bench = try Bench(pageSize: pageSize)
        let largest = UInt64(bench.slabs.classes.largest)
        var random = Random(seed: UInt64(pageSize))
        for round in 0..<6 {
            let wanted = round & 1 == 0 ? 3000 : 300
            while bench.cells.count != wanted {
                let isMore = bench.cells.count < wanted
                if random.below(4) != 0 ? isMore : !isMore || bench.cells.isEmpty {
                    let size = 1 + Int(random.below(largest) >> random.below(6))
                    #expect(bench.take(size, stripe: Int(random.below(16))))
                } else {
                    bench.give(Int(random.below(UInt64(bench.cells.count))))
                }
            }
            bench.check()
        }
        bench.freeAll()
        bench.check()
        // A class keeps its last page while RAM is not short, and gives it back once it is.
        #expect(bench.slabs.usage.pages <= bench.slabs.classes.sizes.count)
        bench.store.ledger.limit = 0
        for size in bench.slabs.classes.sizes { #expect(bench.take(size, reserve: 64 << 20)) }
        bench.freeAll()
        #expect(bench.store.ledger.used == 0)
        #expect(bench.slabs.usage == (0, 0, 0))
    }

    @Test func everySizeFitsItsClassAndWastesLittle() throws {
        let small = try Bench(pageSize: 4 << 10), large = try Bench(pageSize: 64 << 10)
        for classes in [small.slabs.classes, large.slabs.classes] {
            #expect(classes.sizes == classes.sizes.sorted() && classes.sizes.allSatisfy { $0 & 3 == 0 })
            for size in 1...classes.largest {
                let index = classes.index(for: size)
                #expect(classes.sizes[index] >= size)
                #expect(index == 0 || classes.sizes[index - 1] < size)
            }
        }
        func lost(_ size: Int, _ bench: Bench) -> Int {
            let classes = bench.slabs.classes
            return classes.sizes[classes.index(for: size)] - size
        }
        for size in 16...960 { #expect(lost(size, small) * 8 < size + 32, "\(size)") }
        for size in 16...4096 {
            let step = size <= 256 ? 4 : size <= 640 ? 8 : size <= 1280 ? 16 : size <= 2560 ? 32 : 64
            #expect(lost(size, large) < step, "\(size)")
        }
        #expect(large.slabs.classes.largest > 8 << 10)
    }

    /// Method: whenever a free cell is promised, allocating takes no page.
    @Test func aPromisedCellTakesNoPage() throws {
        let bench = try Bench(pageSize: 4 << 10)
        var random = Random(seed: 9), promised = 0
        for _ in 0..<4000 {
            let size = 20 + Int(random.below(4)) * 150
            if random.below(5) < 3 {
                let isPromised = bench.slabs.hasFreeCell(size), used = bench.store.ledger.used
                #expect(bench.take(size))
                if isPromised {
                    promised += 1
                    #expect(bench.store.ledger.used == used)
                }
            } else if !bench.cells.isEmpty {
                bench.give(Int(random.below(UInt64(bench.cells.count))))
            }
        }
        #expect(promised > 1000)
        #expect(!bench.slabs.hasFreeCell(bench.slabs.classes.largest + 1))
    }

    @Test func withoutRAMThereIsNoCellAndTheLedgerStays() throws {
        let bench = try Bench(pageSize: 4 << 10, limit: 8 << 12)
        while bench.take(200) {}
        let count = bench.cells.count
        #expect(bench.store.ledger.used == 8 << 12)
        #expect(!bench.take(200) && !bench.take(20))
        #expect(bench.take(20, reserve: 1 << 12))
        #expect(!bench.take(900, reserve: 1 << 12))
        bench.check()
        bench.give(count)
        bench.give(0)
        #expect(bench.take(200) && !bench.take(200))
        bench.freeAll()
        #expect(bench.store.ledger.used == 1 << 12, "the class keeps a page now that RAM is not short")
    }

    /// Method: of ten pages' cells every eighth stays; the sparsest page is emptied by hand.
    @Test func aSparsePageIsEmptiedAndGivenBack() throws {
        let bench = try Bench(pageSize: 4 << 10)
        while bench.slabs.usage.pages < 10 { #expect(bench.take(100, stripe: bench.cells.count % 16)) }
        #expect(!bench.slabs.canBeEmptied && bench.slabs.sparsestPage() == nil)
        for index in (0..<bench.cells.count).reversed() where index % 8 != 0 { bench.give(index) }
        #expect(bench.slabs.canBeEmptied)
        let before = bench.store.ledger.used
        let (page, sizeClass) = try #require(bench.slabs.sparsestPage())
        func isOnPage(_ cell: Bench.Cell) -> Bool { bench.store.arena.page(of: cell.at) == page }
        let owned = bench.cells.filter(isOnPage)
        #expect(!owned.isEmpty)
        var found = 0
        for index in 0..<Int(bench.slabs.capacities[sizeClass]) {
            let at = bench.slabs.cell(page, index, sizeClass)
            let owner = owned.first { $0.at == at }
            #expect(bench.slabs.owner(page, index) == owner?.stripe)
            found += owner == nil ? 0 : 1
        }
        #expect(found == owned.count)
        // No cell of it is handed out, also after one was freed, until all others are taken.
        func leave(_ cell: Bench.Cell) throws {
            bench.give(try #require(bench.cells.firstIndex { $0.at == cell.at }))
        }
        try leave(owned[0])
        while bench.slabs.usage.pages == 10 { #expect(bench.take(100)) }
        #expect(bench.cells.count(where: isOnPage) == owned.count - 1)
        for cell in owned.dropFirst() {
            #expect(bench.slabs.usage.pages == 11)
            try leave(cell)
        }
        #expect(bench.store.ledger.used == before)
        // Given back: nothing in it is this worker's to move, and restoring it changes nothing.
        #expect(bench.slabs.owner(page, 0) == nil)
        bench.slabs.restore(page)
        bench.check()
    }

    @Test func aRestoredPageIsUsedAgain() throws {
        let bench = try Bench(pageSize: 4 << 10)
        while bench.slabs.usage.pages < 10 { #expect(bench.take(100)) }
        for index in (0..<bench.cells.count).reversed() where index % 8 != 0 { bench.give(index) }
        let (page, _) = try #require(bench.slabs.sparsestPage())
        bench.slabs.restore(page)
        let used = bench.store.ledger.used
        while bench.slabs.hasFreeCell(100) { #expect(bench.take(100)) }
        #expect(bench.store.ledger.used == used)
        bench.check()
    }
}
