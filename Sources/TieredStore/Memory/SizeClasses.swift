/// The sizes of cells slabs are cut into.
///
/// Shape:  steps of 4 bytes to 256, 8 to 640, 16 to 1280, 32 to 2560, 64 to 4096; beyond that the
///         sizes that divide a page with nothing left over, down to four cells a page.
///         With pages below 64 KiB (little RAM), sixteenths of a power of two: each class in use
///         holds a page, so that there must be fewer.
/// Why:    at most 3 % is lost inside a cell, so that a 500-byte value pays 4 bytes on average.
struct SizeClasses {
    let sizes: [Int]
    /// Class of a size of up to 4096 bytes, by size / 4 rounded up.
    private let small: [UInt16]
    let largest: Int

    init(pageSize: Int) {
        var sizes: [Int] = []
        func fill(upTo end: Int, step: Int) {
            while sizes.isEmpty || sizes.last! + step <= min(end, pageSize / 4 - 4) {
                sizes.append((sizes.last ?? 16 - step) + step)
            }
        }
        if pageSize >= 64 << 10 {
            fill(upTo: 256, step: 4)
            fill(upTo: 640, step: 8)
            fill(upTo: 1280, step: 16)
            fill(upTo: 2560, step: 32)
            fill(upTo: 4096, step: 64)
        } else {
            for power in 5...12 { fill(upTo: 1 << power, step: max(4, (1 << power) >> 4)) }
        }
        var perPage = 15
        while perPage >= 4 {
            let size = ((pageSize - 2 * perPage - 8) / perPage) & ~7
            if size > sizes.last! { sizes.append(size) }
            perPage -= 1
        }
        self.sizes = sizes
        largest = sizes.last!
        var small: [UInt16] = []
        var at: UInt16 = 0
        for quad in 0...(min(4096, largest) / 4) {
            while sizes[Int(at)] < quad * 4 { at += 1 }
            small.append(at)
        }
        self.small = small
    }

    /// Index of the smallest class that holds `size` bytes; `size` ≤ `largest`.
    @inline(__always)
    func index(for size: Int) -> Int {
        let quad = (size + 3) >> 2
        if quad < small.count { return Int(small[quad]) }
        var at = Int(small[small.count - 1])
        while sizes[at] < size { at += 1 }
        return at
    }
}
