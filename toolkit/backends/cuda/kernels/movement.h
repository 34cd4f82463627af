// A transposition of two axes through tiles in shared memory, so that reads and writes both go along rows.

namespace movement {

const int TILE = 32, ROWS = 8;

// `down` is the axis along which the source is dense, `across` the one along which the result is.
template <class At, class T> void turn(const T* x, T* y, uint64 across, uint64 down, uint64 across_step, uint64 down_step) {
    __shared__ T tile[TILE][TILE + 1];
    const uint64 wide_tiles = (across + TILE - 1) / TILE, high_tiles = (down + TILE - 1) / TILE;
    uint64 block = blockIdx.x;
    const uint64 left = block % wide_tiles * TILE;
    block /= wide_tiles;
    const uint64 top = block % high_tiles * TILE;
    block /= high_tiles;
    const T* from = x + At::source(block);
    T* to = y + At::target(block);
    for (int row = threadIdx.y; row < TILE; row += ROWS)
        if (left + row < across && top + threadIdx.x < down)
            tile[row][threadIdx.x] = from[(left + row) * across_step + top + threadIdx.x];
    __syncthreads();
    for (int row = threadIdx.y; row < TILE; row += ROWS)
        if (top + row < down && left + threadIdx.x < across)
            to[(top + row) * down_step + left + threadIdx.x] = tile[threadIdx.x][row];
}

}  // namespace movement
