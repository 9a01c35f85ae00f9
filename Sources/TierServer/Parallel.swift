import Glibc

/// Work that several threads do side by side, before the loops begin or after they have ended.
enum Parallel {
    private final class Share {
        let body: (Int) -> Void
        let index: Int
        init(_ body: @escaping (Int) -> Void, _ index: Int) {
            self.body = body
            self.index = index
        }
    }

    /// Runs `body` with 0 up to `count`, each on a thread, the calling one among them; returns when all have
    /// ended.
    static func run(_ count: Int, _ body: @escaping (Int) -> Void) {
        let threads = (1..<max(1, count)).map { index in
            var thread = pthread_t()
            let share = Unmanaged.passRetained(Share(body, index))
            let status = pthread_create(&thread, nil, { pointer in
                let share = Unmanaged<Share>.fromOpaque(pointer!).takeRetainedValue()
                share.body(share.index)
                return nil
            }, share.toOpaque())
            precondition(status == 0, "cannot start a thread")
            return thread
        }
        body(0)
        for thread in threads { pthread_join(thread, nil) }
    }
}
