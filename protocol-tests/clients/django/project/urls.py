"""The addresses of the site's three pages."""

from django.urls import path
from pages import views

urlpatterns = [
    path("report/", views.report),
    path("sidebar/<str:reader>/", views.sidebar),
    path("visits/", views.visits),
]
