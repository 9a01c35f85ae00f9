import Glibc

/// What threads wait for that have nothing to do until another has done something.
public final class Bell: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var rung = 0
    private var waiting = 0

    public init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// How often it has been rung.
    public var count: Int {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return rung
    }

    public func ring() {
        pthread_mutex_lock(mutex)
        rung += 1
        let wakes = waiting > 0
        pthread_mutex_unlock(mutex)
        if wakes { pthread_cond_broadcast(condition) }
    }

    /// Waits until it has been rung more often than `count`, which the caller asked for before it looked
    /// whether there was something to do.
    public func wait(after count: Int) {
        pthread_mutex_lock(mutex)
        waiting += 1
        while rung == count { pthread_cond_wait(condition, mutex) }
        waiting -= 1
        pthread_mutex_unlock(mutex)
    }
}
