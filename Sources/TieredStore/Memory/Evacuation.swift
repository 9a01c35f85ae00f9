import Primitives

/// Giving RAM back: a sparse slab page is emptied by moving its entries to fuller pages.
extension StoreWorker {
    /// Empties up to `pages` pages while more RAM is held, with what the next writer waits for,
    /// than the watermark allows.
    func evacuate(pages: Int) {
        for _ in 0..<pages {
            let wanted = waiters.first?.bytes ?? 0
            guard ledger.used + wanted > ledger.limit / 64 * 62,
                let (page, sizeClass) = slabs.sparsestPage()
            else { return }
            empty(page, sizeClass)
        }
    }

    private func empty(_ page: UInt32, _ sizeClass: Int) {
        for index in 0..<Int(slabs.capacities[sizeClass]) {
            guard let stripe = slabs.owner(page, index) else { continue }
            stripes.lock(stripe)
            defer { stripes.unlock(stripe) }
            // Freed, or freed and used again, before the stripe was ours?
            guard slabs.owner(page, index) == stripe else { continue }
            move(Entry(slabs.cell(page, index, sizeClass)), stripe, sizeClass)
        }
        slabs.restore(page)
    }

    private func move(_ entry: Entry, _ stripe: Int, _ sizeClass: Int) {
        let key = entry.key
        let hash = hash(key)
        let wanted = offset(entry)
        for database in 0..<store.options.databases {
            let table = stripes.tables(stripe) + database
            guard let slot = table.pointee.find(hash, key, base: base),
                slot.pointee & Table.offsetMask == wanted
            else { continue }
            guard let cell = slabs.allocate(slabs.classes.sizes[sizeClass], stripe: stripe) else { return }
            cell.copyMemory(from: entry.at, byteCount: entry.size)
            replace(slot, with: Entry(cell), table)
            slabs.free(entry.at)
            counters.cellsMoved += 1
            return
        }
    }
}
