/* A policy in C: fewest requests under way wins, in proportion to weight; less by each block that it lags.
 * scripts/build-sdk-examples builds it. */
#include "pointsman.h"

uint64_t pointsman_describe(void)
{
    return POINTSMAN_TEXT("{\"name\":\"least-request-c\",\"version\":\"1.0.0\",\"kinds\":[\"scoring\"]}");
}

/* It has no keys: any table but the empty one is a mistake. */
uint64_t pointsman_configure(const uint8_t *json, uint32_t len)
{
    (void)json;
    return len == 2 ? 0 : POINTSMAN_TEXT("this policy has no config");
}

POINTSMAN_EXPORT("pointsman_score")
void pointsman_score(pointsman_request *request, const void *rows, uint32_t count, double *scores)
{
    for (uint32_t i = 0; i < count; i++) {
        const pointsman_row *row = pointsman_row_at(request, rows, i);
        /* An unknown lag must not make the score NaN. */
        double lag = pointsman_known(row->head_lag_blocks, 0);
        scores[i] = row->weight / (row->in_flight + 1.0) - lag;
    }
}
