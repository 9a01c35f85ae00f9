import CSystem
import Glibc
import IOUring
import Primitives

/// Round trips through io_uring: operations handed to the kernel `depth` at a time, and all waited for.
final class RingTrip {
    enum Kind { case nothing, read }

    /// Of the file that is read from, which lies in the working directory and has no name any more.
    private static let fileBytes = 64 << 20
    private let kind: Kind
    private let depth: Int
    private var ring: Ring
    private var batch = CompletionBatch()
    private let memory = AddressSpace(byteCount: 1 << 20)!
    private var random = Random(seed: 1)
    private let slot = FileSlot(0)

    init(_ kind: Kind, depth: Int = 1) {
        self.kind = kind
        self.depth = depth
        do throws(RingError) {
            ring = try Ring(entries: 64)
            if kind == .read {
                let file = RingTrip.makeFile(from: memory)
                try ring.registerFiles(slots: 1)
                try ring.setFile(slot, to: file)
                close(file)
            }
        } catch { fatalError("\(error)") }
    }

    private static func makeFile(from memory: AddressSpace) -> Int32 {
        let name = "micro-\(getpid())", file = open(name, O_CREAT | O_RDWR | csystem_o_direct, 0o600)
        precondition(file >= 0, "no file past the page cache here: \(String(cString: strerror(errno)))")
        unlink(name)
        for offset in stride(from: 0, to: fileBytes, by: memory.byteCount) {
            let written = pwrite(file, memory.base, memory.byteCount, offset)
            precondition(written == memory.byteCount, "not written")
        }
        fsync(file)
        return file
    }

    func run(_ count: Int) {
        for _ in 0..<(count / depth) {
            for i in 0..<depth { prepare(i) }
            var ended = 0
            while ended < depth {
                do throws(RingError) {
                    try ring.submitAndWait(minimum: depth - ended)
                } catch { fatalError("\(error)") }
                let n = ring.reap(into: &batch)
                for i in 0..<n {
                    precondition(batch[i].result == (kind == .read ? 4096 : 0), "failed: \(batch[i].result)")
                }
                ended += n
            }
        }
    }

    private func prepare(_ i: Int) {
        let token = CompletionToken(kind: 0, generation: 0, slot: UInt32(i))
        switch kind {
        case .nothing: ring.noOperation(token)
        case .read:
            let block = random.below(UInt64(RingTrip.fileBytes / 4096))
            ring.read(slot, into: memory.base + i * 4096, length: 4096, at: block * 4096, token)
        }
    }
}
